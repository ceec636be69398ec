"""Instructions: prompts with the completions that a language model is to write."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from finetune.tasks import prompts, subsets, tables, text
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text import examples
from finetune.tasks.own_text.examples import Columns, Rows
from finetune.tasks.own_text.likelihood import Likelihood
from finetune.tasks.splits import Split
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.tokenizer import Tokenizer, longest_first


def load(
    data: str | pathlib.Path | Mapping[str, str | pathlib.Path],
    tokenizer: Tokenizer,
    kind: str,
    expected: Columns = Columns(),  # noqa: B008
    *,
    loss_on_prompt: bool = False,
    cut: bool = False,
    heldout: float = 0.0,
    max_length: int = 128,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
) -> LanguageTask:
    """The task whose loss is -sum_t log p(completion token t | prompt, those before it).

    A completion ends with the token that ends a text, or as the chat template ends an answer; of a
    chat it is the last answer. Scored by `Likelihood`.

    Args:
      data: split name -> file, or one file (train), or a folder with train, validation and test
        files, .jsonl, .csv or .parquet.
      tokenizer: of the model; its `vocabulary` must be there, and for chats its template.
      kind: "causal" or "encoder_decoder".
      expected: the columns.
      loss_on_prompt: loss on all tokens behind the first one, those of the prompt included.
      cut: rows of more than max_length tokens are cut, the longer part first, a prompt at its
        beginning and a completion at its end; else they are left out. The note counts them.
      heldout: share of the training rows that becomes the split "heldout", always the same rows.
      max_length: tokens of prompt and completion together; of an encoder-decoder, of each.
      lengths: what batches are padded to, see `text.buckets`.
      window: batches sorted by length together, see `batches.shuffled`.

    Raises:
      FileNotFoundError: a file or a split that does not exist.
      ValueError: what `examples.tokenized` refuses, a split of which no row is short enough, or a
        loss on prompts that the decoder does not read.

    Example:
      load("chats.jsonl", load_tokenizer("models/llama"), "causal", heldout=0.1)
    """
    vocabulary = vocabulary_of(tokenizer)
    if loss_on_prompt and kind != "causal":
        raise ValueError(
            f"loss_on_prompt is True; allowed with a model of kind {kind!r} is False, as its "
            "decoder does not write prompts"
        )
    both = text.buckets(max_length, lengths)
    read = tables.read(data)
    splits, notes = {}, []
    for split, table in read.items():
        source, target = examples.tokenized(table, expected, tokenizer, vocabulary, kind)
        long = [_longest(s, t, kind) > max_length for s, t in zip(source, target, strict=True)]
        if any(long):
            done = "cut" if cut else "left out"
            notes.append(
                f"{sum(long)} of {len(long)} rows of {split} have more than {max_length} tokens "
                f"and are {done}"
            )
        if cut:
            source, target = _cut(source, target, kind, max_length)
        chosen = np.arange(len(source)) if cut else np.flatnonzero(~np.array(long, bool))
        if len(source) and not len(chosen):
            least = min(map(_longest, source, target, [kind] * len(source)))
            raise ValueError(
                f"max_length is {max_length}; allowed are lengths that at least one row of split "
                f"{split!r} fits in, {least} or more (or cut the rows, --cut_long)"
            )
        pairs = [(source[row], target[row]) for row in chosen]
        if loss_on_prompt:
            # One token has nothing before it that it could follow from.
            pairs = [(s[:1], [*s[1:], *t]) for s, t in pairs]
        inputs = prompts.paired((s for s, _ in pairs), (t for _, t in pairs))
        splits[split] = Split(inputs, inputs["target"], chosen)
    return LanguageTask(
        name="instructions",
        splits=subsets.with_share(splits, heldout),
        kind=kind,
        reading=Likelihood(matched=not loss_on_prompt),
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.pad_id,
        lengths=(1,) if loss_on_prompt else both,
        target_lengths=both,
        window=window,
        note="; ".join(notes),
        chat=expected.chat or any(map(expected.of_chats, read.values())),
    )


def _longest(source: list[int], target: list[int], kind: str) -> int:
    return len(source) + len(target) if kind == "causal" else max(len(source), len(target))


def _cut(source: Rows, target: Rows, kind: str, room: int) -> tuple[Rows, Rows]:
    if kind != "causal":
        return [row[-room:] for row in source], [row[:room] for row in target]
    left = [longest_first(len(s), len(t), room) for s, t in zip(source, target, strict=True)]
    source = [row[len(row) - keep :] for row, (keep, _) in zip(source, left, strict=True)]
    return source, [row[:keep] for row, (_, keep) in zip(target, left, strict=True)]
