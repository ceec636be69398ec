"""GSM8K: school mathematics in words, scored by the final number (Cobbe et al., arXiv 2110.14168).

The protocol is that of MetaMath (Yu et al., arXiv 2309.12284), which LoRA-GA and LoRA-One use: an
instruction and a response that ends in "The answer is: N", greedy decoding, and exact match of the
number. The wording of the frame is ours. It trains on rows of GSM8K, or of MetaMathQA where the
file of the training split holds those (columns query and response). Where MetaMath reads the first
number behind the cue, we read the last one of the cue's line: a model that writes "The answer is:
3 + 4 = 7" means 7.
"""

from __future__ import annotations

import collections
import pathlib
import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from finetune.tasks import prompts, text
from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table
from finetune.tasks.generated_text import GeneratedText
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text.likelihood import Likelihood
from finetune.tasks.splits import Split
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.tokenizer import Tokenizer
from finetune.tasks.tokens.vocabulary import Vocabulary

REPOSITORY = "openai/gsm8k"
SPLITS = ("train", "test")
LENGTH = 256
"""Tokens of an answer."""
FRAME = (
    "The following is a task. Write a response that solves it.\n\n"
    "### Instruction:\n{question}\n\n### Response:"
)
CUE = "The answer is:"
MARK = "####"
# Of GSM8K, and of MetaMathQA, whose responses end in the cue; those from GSM8K have the mark too.
COLUMNS = (("question", "answer"), ("query", "response"))
# What the data set's own calculator wrote, "<<3*4=12>>": no text that a reader would write.
CALCULATION = re.compile(r"<<[^<>]*>>")
# A sign belongs to a number unless something stands before it, as in "5-3"; commas only between
# thousands, so that "1,2" is two numbers.
NUMBER = re.compile(
    r"(?:(?<![\w).])-)?(?:\$-?)?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?"
)


class FinalNumber(GeneratedText):
    """A `Reading` of the last number of a text; labels are numbers as strings, str (n,)."""

    metrics = ("exact_match",)

    def predict(self, answers: np.ndarray) -> list[str]:
        """The text of every row."""
        return [row[0] for row in self.texts(answers)]

    def score(self, predictions: Sequence[str], labels: np.ndarray) -> dict[str, float]:
        """Share of rows whose final number is the label's."""
        pairs = zip(predictions, labels, strict=True)
        return {"exact_match": float(np.mean([same(text, label) for text, label in pairs]))}

    def majority(self, labels: np.ndarray) -> dict[str, float]:
        """The share of the most frequent number."""
        counts = collections.Counter(final_number(str(label)) for label in labels)
        return {"exact_match": max(counts.values()) / len(labels)}

    def records(self, predictions: Sequence[str], labels: np.ndarray | None) -> list[dict]:
        """text, number, and label where there are labels."""
        rows: list[dict[str, Any]] = []
        for written in predictions:
            number = final_number(written)
            rows.append({"text": written, "prediction": None if number is None else str(number)})
        if labels is None:
            return rows
        return [{**row, "label": str(label)} for row, label in zip(rows, labels, strict=True)]


def load(
    tokenizer: Tokenizer,
    kind: str,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 256,
    target_length: int = LENGTH,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
    likelihood: bool = False,
) -> LanguageTask:
    """The task, with the splits train and test.

    Args:
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal" or "encoder_decoder".
      data_dir: folder with gsm8k/train.parquet and gsm8k/test.parquet (or .jsonl, .csv), or with
        the files themselves; the training file may be MetaMathQA's. None for GSM8K from the Hub.
      max_length: tokens of a prompt.
      target_length: tokens of an answer, and of what the model writes at most.
      lengths: what both are padded to, see `text.buckets`.
      window: batches sorted by length together, see `batches.shuffled`.
      likelihood: score the loss per token of the given answers, as far as target_length, in place
        of the numbers that the model writes.

    Longer rows are left out of the training split, and the note says how many.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: a missing column, a row that is no text or has no number behind "####", a prompt
        of the test split that is longer than max_length, no training row that is short enough.

    Example:
      load(load_tokenizer("models/llama"), "causal", "data").majority("test")
    """
    vocabulary = vocabulary_of(tokenizer)
    splits, notes = {}, []
    tables = sources.of_task("gsm8k", REPOSITORY, "main", SPLITS, data_dir)
    for split, table in tables.items():
        names = COLUMNS[split == "train" and "query" in table.names]
        questions, answers = (columns.texts(table, name) for name in names)
        parts = [_parts(table, names[1], row, answer) for row, answer in enumerate(answers)]
        labels = np.array([final for _, final in parts])
        source = framed([FRAME.format(question=q.strip()) for q in questions], vocabulary, kind)
        target = _targets(parts, vocabulary)
        if split == "test":
            prompts.require_room("split 'test'", source, max_length)
            # Not read where the model writes its own, and no row of the test is left out.
            target = [row[:target_length] for row in target]
        pairs = zip(source, target, strict=True)
        keep = [len(s) <= max_length and len(t) <= target_length for s, t in pairs]
        if not any(keep):
            raise ValueError(
                f"max_length is {max_length} and target_length {target_length}; allowed are "
                f"lengths that at least one row of split {split!r} fits in"
            )
        if not all(keep):
            notes.append(f"{split} without {keep.count(False)} rows that are too long")
        chosen = np.flatnonzero(keep)
        inputs = prompts.paired(source, target)
        splits[split] = Split(inputs, inputs["target"] if likelihood else labels)[chosen]
    return LanguageTask(
        name="gsm8k",
        splits=splits,
        kind=kind,
        reading=Likelihood(matched=False) if likelihood else FinalNumber(vocabulary, target_length),
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.pad_id,
        lengths=text.buckets(max_length, lengths),
        target_lengths=text.buckets(target_length, lengths),
        window=window,
        note="; ".join(notes),
    )


def final_number(written: str) -> Fraction | None:
    """The number a text ends in, exactly: the last one of the line that the last cue begins, or
    without a cue (or a number behind it) the last one of all; None without any.

    Example:
      >>> final_number("3 + 4 = 7, so it costs $1,200.50.")
      Fraction(2401, 2)
      >>> final_number("The answer is: 18 dollars.\\n\\n### Instruction: 7 of 9")
      Fraction(18, 1)
    """
    _, cue, behind = written.rpartition(CUE)
    lines = behind.strip().splitlines() if cue else []
    for part in (*lines[:1], written):
        for match in reversed(NUMBER.findall(part.replace("\u2212", "-"))):
            value = _value(match)
            if value is not None:
                return value
    return None


def same(written: str, label: str) -> bool:
    """True if the text's final number is the label's."""
    number = final_number(written)
    return number is not None and number == final_number(str(label))


def framed(asked: Sequence[str], vocabulary: Vocabulary, kind: str) -> list[list[int]]:
    """Whole prompts as ids with the special tokens that the kind of model reads."""
    end = [vocabulary.end_id] if kind == "encoder_decoder" else []
    return [[*vocabulary.before, *row, *end] for row in vocabulary.plain(asked)]


def _targets(parts: Sequence[tuple[str, str]], vocabulary: Vocabulary) -> list[list[int]]:
    rows = vocabulary.words([f"{steps}\n{CUE} {final}" for steps, final in parts])
    return [[*row, vocabulary.end_id] for row in rows]


def _parts(table: Table, column: str, row: int, answer: str) -> tuple[str, str]:
    """The steps of a published answer, and what it ends in."""
    response = column == COLUMNS[1][1]
    steps, mark, final = answer.rpartition(MARK)
    if response and not mark:
        # Of other mathematics than GSM8K's, where the answer may be a formula.
        steps, mark, final = answer.rpartition(CUE)
    final = (final.strip().splitlines() or [""])[0]
    if not response:
        final = final.replace(",", "")
    if not (steps and mark and final) or (mark == MARK and final_number(final) is None):
        allowed = f"'{CUE} ...'" if response else f"'{MARK} number'"
        raise ValueError(
            f"column {column!r} of {table.origin} is {answer[-20:]!r} at its end in row {row}; "
            f"allowed is a text with {allowed} there"
        )
    return CALCULATION.sub("", steps).strip(), final


def _value(digits: str) -> Fraction | None:
    try:
        return Fraction(digits.replace("$", "").replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
