"""The network that `launch.compress` makes smaller, and what it is calibrated and judged on."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from finetune import models
from finetune.compression import quality
from finetune.compression.moments import Forward, Params
from finetune.compression.texts import Blocks, blocks
from finetune.models.registry import ARCHITECTURES
from finetune.tasks import Tokenizer, load_tokenizer
from finetune.tasks.metrics import spearman
from finetune.training import network
from finetune.weights.naming import named_leaves, rebuild
from launch.compressing import sources
from launch.compressing.config import CompressConfig

ROWS = 4  # of a batch of logits over the vocabulary, which are larger than all else
JUDGED = 4
"""Texts are judged on a share 1 / JUDGED of the tokens of calibration."""
PAIRS = 400
"""Pairs whose likeness is judged at most: Spearman's correlation to about .01."""


class Subject(NamedTuple):
    """A network.

    Attributes:
      source: its folder or file.
      base: the name that a bare encoder's file leaves out.
      kind: "causal" or "encoder".
      forward: (params, batch, ops) -> `Output`.
      params: by torch name.
      paths: of the linear maps that are compressed, in the order of the forward pass.
    """

    source: pathlib.Path
    base: str
    kind: str
    forward: Forward
    params: Params
    paths: tuple[str, ...]

    def shape(self, path: str) -> tuple[int, int]:
        """(in, out) of a map."""
        return self.params[f"{path}.weight"].shape


class Material(NamedTuple):
    """Texts as tokens.

    Attributes:
      calibration: what the maps are fitted to.
      judged: name -> what they are judged by: "held out", and "other" where there is some.
      pairs: of an encoder with numbers of likeness: both texts of each pair, and the numbers.
      choosing: held-out text that is in no score, with --power=auto.
    """

    calibration: Blocks
    judged: dict[str, Blocks]
    pairs: tuple[Blocks, Blocks, np.ndarray] | None
    choosing: dict[str, Blocks]


def load(config: CompressConfig) -> Subject:
    """Reads the weights.

    Raises:
      ValueError: a folder that holds no model of text, or one of an encoder-decoder.
    """
    source = models.resolve(config.model, revision=config.revision)
    entries = models.read_entries(source)
    kind = getattr(ARCHITECTURES.get(entries.get("model_type")), "kind", "encoder")
    if kind == "encoder_decoder" or ("model_type" in entries and "vocab_size" not in entries):
        raise ValueError(
            f"--model={config.model} has the model_type {entries['model_type']!r}; allowed are "
            "causal language models and encoders of text"
        )
    labels = 0 if kind == "causal" else len(entries.get("id2label") or "..")
    _, model = models.load(source, labels=labels, key=jax.random.key(0))
    chosen = set(network.from_module(model).adapted(config.modules))
    if drawn := sorted(path for path in chosen if f"{path}.weight" in model.fresh):
        raise ValueError(
            f"--modules takes in {drawn[0]}, whose kernel --model does not have; choose others"
        )
    params = {name: leaf.value for name, leaf in named_leaves(model).items()}
    paths = tuple(path for path in models.linears(model) if path in chosen)

    def forward(params, batch, ops):
        return rebuild(model, params)(batch, ops)

    return Subject(source, model.base, kind, forward, params, paths)


def material(config: CompressConfig, subject: Subject) -> Material:
    """Reads and tokenises the texts.

    Raises:
      ValueError: no text, a --label without an encoder, or what the readers refuse.
    """
    if config.label is not None and subject.kind != "encoder":
        raise ValueError(f"--label is {config.label}; allowed with an encoder, --model is none")
    rows = sources.read(config.data, config.texts, config.label, config.heldout, config.seed)
    tokenizer = load_tokenizer(config.model, config.revision)

    def tokens(texts: Sequence[Sequence[str]], limit: int) -> Blocks:
        joined = _joined(texts, subject.kind)
        return blocks(tokenizer, subject.kind, joined, config.max_length, limit)

    share = config.tokens // len(rows.train)
    calibration = _stacked([tokens(source, share) for source in rows.train])
    judged = {"held out": tokens(rows.heldout, config.tokens // JUDGED)}
    choosing = {}
    if config.power == "auto":
        judged["held out"], choosing["other half"] = judged["held out"].halves()
    if config.other:
        other = sources.whole(config.other, config.texts)
        judged["other"] = tokens(other, config.tokens // JUDGED)
    pairs = None
    if rows.alike is not None:
        pairs = (*_pair(tokenizer, rows.heldout[:PAIRS], config), rows.alike[:PAIRS])
    return Material(calibration, judged, pairs, choosing)


def judge(subject: Subject, material: Material, size: int) -> Callable[[Params], dict]:
    """params -> name of a score -> its value.

    A causal model: the perplexity of every text that is judged. An encoder: the mean cosine of the
    vectors of texts to those of the network as it is; and Spearman's correlation of the cosine of
    two texts with the numbers of likeness.
    """
    if subject.kind == "causal":
        return lambda params: {
            f"perplexity, {name}": quality.perplexity(subject.forward, params, text, ROWS)
            for name, text in material.judged.items()
        }

    def vectors(params, text):
        return quality.vectors(subject.forward, params, text, size)

    before = {name: vectors(subject.params, text) for name, text in material.judged.items()}

    def scores(params):
        values = {
            f"cosine, {name}": float(quality.cosines(vectors(params, text), before[name]).mean())
            for name, text in material.judged.items()
        }
        if material.pairs is not None:
            *texts, alike = material.pairs
            likeness = quality.cosines(*(vectors(params, text) for text in texts))
            values["Spearman"] = spearman(likeness, alike)
        return values

    return scores


def _joined(rows: Sequence[Sequence[str]], kind: str) -> list[str]:
    """A text of each row for a causal model, else all of its texts apart."""
    if kind == "causal":
        return ["\n".join(row) for row in rows]
    lines = [line for row in rows for text in row for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError("calibration is empty; allowed are texts with a line or more")
    return lines


def _pair(tokenizer: Tokenizer, rows, config: CompressConfig) -> tuple[Blocks, Blocks]:
    first, second = (
        blocks(tokenizer, "encoder", list(side), config.max_length)
        for side in zip(*rows, strict=True)
    )
    return first, second


def _stacked(parts: Sequence[Blocks]) -> Blocks:
    """Blocks of several sources, the shorter ones padded."""
    longest = max(part.ids.shape[1] for part in parts)
    wide = (
        Blocks(*(np.pad(side, ((0, 0), (0, longest - side.shape[1]))) for side in part))
        for part in parts
    )
    return Blocks(*map(np.concatenate, zip(*wide, strict=True)))
