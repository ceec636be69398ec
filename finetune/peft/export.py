"""Factors and heads -> a folder that `peft.PeftModel.from_pretrained` loads.

Every scale is folded into the factors, so that any method with factors becomes a plain LoRA: also
one that changed its base W to W - A0 B0, as the factors [A, -A0], [B; B0] of twice the rank.

Lengths of columns (DoRA) do not fold: they are PEFT's lora_magnitude_vector.

Source: PEFT 0.21.2; the checks are for what PEFT would load silently and wrongly.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from finetune.adapters.method import Dense, Factors, Refused, Scaled
from finetune.models.config import Config
from finetune.models.registry import architecture
from finetune.peft import compatibility, naming
from finetune.peft.card import Card, render
from finetune.peft.compatibility import Frame
from finetune.peft.config import FILE, NOTHING, pattern_key
from finetune.weights.saving import config_json
from rankwise.folders import new_folder

WEIGHTS = "adapter_model.safetensors"
# What a base's config.json says about another task, another dtype or another program.
# fmt: off
STALE = frozenset([
    "_name_or_path", "_num_labels", "finetuning_task", "id2label", "label2id", "num_labels",
    "pooling", "problem_type", "torch_dtype", "transformers_version",
])
# fmt: on


def export(
    folder: str | os.PathLike,
    adapters: Mapping[str, Factors | Scaled],
    heads: Mapping[str, Any],
    config: Config,
    *,
    base: str,
    revision: str | None = None,
    task_type: str | None = "auto",
    classes: Sequence[str] = (),
    entries: Mapping[str, Any] | None = None,
    card: Card | None = None,
) -> None:
    """Writes adapter_config.json, adapter_model.safetensors and README.md into a new folder.

    With `classes` also the config.json of the network, which has their names: PEFT keeps none.

    Args:
      folder: must not exist; it appears whole or not at all.
      adapters: module path -> a (in, r) and b (r, out) with y = x (W + a b), or `Scaled` with the
        lengths of the columns of W + a b besides. Ranks may differ and may be 0. float64 stays; the
        rest is written as float32.
      heads: torch name -> parameter in our layout (kernels (in, out)): all of the modules that the
        task trains whole, and of those that the base checkpoint lacks.
      config: of the base model, as `finetune.models.load` returns it.
      base, revision: the base model on the Hub, or its folder.
      task_type: "auto" for that of the network, see `task_type_of`; None for an adapter without
        heads, or for a network of your own.
      classes: names of the classes by number.
      entries: the base's config.json; what of it does not shape the network is kept beside them.
      card: what the model card says beyond that.

    Raises:
      ValueError: the folder exists; factors or heads that do not fit the network, a head that is
        incomplete, a change that is not of low rank, magnitudes in some modules only; numbers that
        are not finite; a network that transformers does not have (mean pooling). Nothing is written
        then.

    Example:
      >>> export("adapters/cola", factors, heads, config, base="org/model")  # doctest: +SKIP
    """
    if task_type == "auto":
        task_type = task_type_of(config)
    frame = compatibility.frame(config)
    _check(frame, adapters, heads, config, task_type)
    ranks = {path: change.a.shape[1] for path, change in adapters.items()}
    settings = settings_of(
        {path: rank for path, rank in ranks.items() if rank},
        base=base,
        revision=revision,
        task_type=task_type,
        modules_to_save=head_modules(frame, heads),
        dora=any(isinstance(change, Scaled) for change in adapters.values()),
    )
    readme = render(
        card or Card(),
        ranks,
        form="peft",
        base=base,
        revision=revision,
        labels=config.num_labels if task_type else None,
        task_type=task_type,
        classes=classes,
        parameters=sum(leaf.size for change in adapters.values() for leaf in change),
    )
    tensors = tensors_of(frame, adapters, heads)
    with new_folder(folder) as part:
        save_file(tensors, part / WEIGHTS, metadata={"format": "pt"})
        write_json(part / FILE, settings)
        if classes:
            write_json(part / "config.json", model_json(config, entries, classes))
        (part / "README.md").write_text(readme, encoding="utf-8")


def settings_of(
    ranks: Mapping[str, int],
    *,
    base: str,
    revision: str | None,
    task_type: str | None,
    modules_to_save: Iterable[str],
    dora: bool = False,
) -> dict[str, Any]:
    """The entries of adapter_config.json for adapters whose scales are folded into their factors.

    Nothing is left to defaults: every module has its own rank, and an alpha equal to it, so that
    PEFT's scale alpha / r is one.

    Args:
      ranks: module path -> rank, those of rank 0 left out (PEFT refuses them).
      base, revision, task_type, modules_to_save, dora: see `AdapterConfig`.

    Raises:
      ValueError: paths that PEFT's patterns cannot tell apart.
    """
    ranks = dict(sorted(ranks.items()))
    for path in ranks:
        pattern = pattern_key(ranks, path)
        if pattern != path:
            raise ValueError(f"module {path} has PEFT's pattern for {pattern}; rename one of them")
    largest = max(ranks.values(), default=1)
    return {
        "alpha_pattern": ranks,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": largest,
        "lora_dropout": 0.0,
        "modules_to_save": list(modules_to_save) or None,
        "peft_type": "LORA",
        "r": largest,
        "rank_pattern": ranks,
        "revision": revision,
        "target_modules": list(ranks) or NOTHING,
        "task_type": task_type,
        "use_dora": dora,
        "use_rslora": False,
    }


def model_json(
    config: Config, entries: Mapping[str, Any] | None, classes: Sequence[str]
) -> dict[str, Any]:
    """config.json of a network adapted from a base whose config.json has `entries`."""
    kept = {name: value for name, value in (entries or {}).items() if name not in STALE}
    # transformers loads in the dtype that config.json names, and these are float32.
    return {**kept, **config_json(config, classes), "dtype": "float32"}


def write_json(path: pathlib.Path, entries: Mapping[str, Any]) -> None:
    """One JSON object, sorted, on indented lines."""
    text = json.dumps(entries, indent=2, sort_keys=True, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def tensors_of(
    frame: Frame, adapters: Mapping[str, Factors | Scaled], heads: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """The tensors of the file by PEFT's names: torch's layout, contiguous."""
    tensors = {}
    for path, change in adapters.items():
        if change.a.shape[1]:  # PEFT knows no rank 0
            table = naming.LINEAR if path in frame.linear else naming.EMBEDDING
            tensors[naming.key(path, table["a"])] = stored(change.a, transposed=True)
            tensors[naming.key(path, table["b"])] = stored(change.b, transposed=True)
        if isinstance(change, Scaled):
            tensors[naming.key(path, naming.MAGNITUDE)] = stored(change.magnitude, transposed=False)
    for name, value in heads.items():
        tensors[naming.PREFIX + name] = stored(value, frame.leaves[name].transposed)
    return tensors


def task_type_of(config: Config) -> str:
    """What a network does, by PEFT's names: SEQ_CLS, QUESTION_ANS, CAUSAL_LM or SEQ_2_SEQ_LM.

    Example:
      >>> from finetune.models.mlp import MLPConfig
      >>> task_type_of(MLPConfig(num_labels=10, input_size=64))
      'SEQ_CLS'
    """
    if config.num_labels:
        return "QUESTION_ANS" if config.of_tokens else "SEQ_CLS"
    return {"causal": "CAUSAL_LM", "encoder_decoder": "SEQ_2_SEQ_LM"}[architecture(config).kind]


def stored(value: Any, transposed: bool) -> np.ndarray:
    """float32, or float64 as it was, in torch's layout."""
    value = np.asarray(value)
    if value.dtype != np.float64:
        value = value.astype(np.float32)
    # safetensors writes the buffer as it lies, whatever the strides of a view say.
    return np.ascontiguousarray(value.T if transposed else value)


def head_modules(frame: Frame, heads: Mapping[str, Any]) -> list[str]:
    """PEFT's modules_to_save: the modules of which `heads` has parameters."""
    return [p for p in frame.optional if any(name.startswith(f"{p}.") for name in heads)]


def require_first_token(config: Config) -> None:
    """Refuses a network whose logits transformers' own head would not give.

    Raises:
      ValueError: mean pooling.
    """
    if config.pooling == "mean":
        raise ValueError(
            f"pooling is {config.pooling!r}; transformers' classifiers know only 'cls' and would "
            "give other logits"
        )


def _check(frame: Frame, adapters, heads, config: Config, task_type: str | None) -> None:
    require_first_token(config)
    problems = [
        f"{path} is no product of factors ({_reason(change)})"
        for path, change in adapters.items()
        if not isinstance(change, Factors | Scaled)
    ]
    problems += _uneven(adapters)
    compatibility.refuse("adapter", problems)
    shapes = {path: tuple(np.shape(leaf) for leaf in change) for path, change in adapters.items()}
    problems = compatibility.adapter_misfits(frame, shapes)
    whole = {name: np.shape(leaf) for name, leaf in heads.items()}
    problems += compatibility.head_misfits(frame, whole, heads_only=True)
    saved = head_modules(frame, heads)
    # PEFT reads all of a head from the file, and leaves adapters inside it out.
    saved_whole = {*saved, *(frame.heads if saved or task_type else ())}
    lacking = sorted({n for path in saved_whole for n in frame.within(path)} - set(heads))
    problems += [f"heads lack {name}, which PEFT needs beside the others" for name in lacking]
    problems += [
        f"{path} has an adapter and is in heads; add a b to the head instead"
        for path in adapters
        if any(path == head or path.startswith(f"{head}.") for head in saved)
    ]
    if not problems:
        named = {f"{p}.{n}": leaf for p, c in adapters.items() for n, leaf in c._asdict().items()}
        problems = compatibility.number_misfits({**named, **heads})
    compatibility.refuse("adapter", problems)


def _uneven(adapters: Mapping[str, Any]) -> list[str]:
    """Modules without a magnitude beside others that have one: use_dora is for all or none."""
    scaled = {path: change for path, change in adapters.items() if isinstance(change, Scaled)}
    if not scaled:
        return []
    problems = [
        f"{path} has a magnitude but rank 0, which PEFT does not know; merge it"
        for path, change in scaled.items()
        if np.shape(change.a)[1:] == (0,)
    ]
    return problems + [
        f"{path} has no magnitude and other modules have one; merge them"
        for path, change in adapters.items()
        if isinstance(change, Factors) and np.shape(change.a)[1:] != (0,)
    ]


def _reason(change: Any) -> str:
    if isinstance(change, Refused):
        return change.reason
    return (
        "a dense change; merge or truncate it"
        if isinstance(change, Dense)
        else type(change).__name__
    )
