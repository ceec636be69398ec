"""SQuAD for encoders, from its files to windows of tokens."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from finetune.tasks import text
from finetune.tasks.splits import Split
from finetune.tasks.squad import files, windows
from finetune.tasks.squad.files import Question
from finetune.tasks.squad.spans import LONGEST, N_BEST, SpanTask
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks


def load(
    name: str,
    tokenizer: Tokenizer,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 384,
    stride: int | None = None,
    n_best: int = N_BEST,
    longest: int = LONGEST,
    threshold: float = 0.0,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
    answers: bool = True,
) -> SpanTask:
    """The task, with the splits train and validation, or of one file validation.

    Args:
      name: "squad" (1.1) or "squad_v2" (2.0).
      tokenizer: of the model.
      data_dir: as for `files.read`, or one file as for `files.read_file`.
      max_length: tokens of a window, with the question and special tokens.
      stride: see `SpanTask`; None is a third of max_length.
      n_best, longest, threshold, window: see `SpanTask`.
      lengths: what windows are padded to, see `text.buckets`.
      answers: of one file, whether its answers are read.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: what the readers refuse; training answers without a place, or that are not where
        the file says; a question that has no room, and what `SpanTask` refuses.

    Example:
      load("squad", load_tokenizer("bert-base-uncased"), "data").majority("validation")
    """
    stride = checks.integer("stride", max_length // 3 if stride is None else stride, 0)
    lengths = text.buckets(max_length, lengths)
    if data_dir is not None and pathlib.Path(data_dir).is_file():
        read = {"validation": files.read_file(data_dir, answers)}
    else:
        read = files.read(name, data_dir)
    splits, notes, everything = {}, [], []
    for split, questions in read.items():
        if split == "train":
            _require_places(questions)
        first = [question.question.strip() for question in questions]
        pairs = tokenizer.pairs(first, [question.context for question in questions])
        inputs = windows.columns(pairs, questions)
        windows.require_room(inputs, questions, max_length, stride)
        inputs["number"] = len(everything) + np.arange(len(questions), dtype=np.int32)
        everything += questions
        known = questions[0].answers is not None
        splits[split] = Split(inputs, inputs["number"] if known else None)
        if split == "train":
            lost = windows.unmarked(inputs, windows.cut(inputs, max_length, stride))
            lost &= [bool(question.answers) for question in questions]
            if lost.any():
                notes.append(
                    f"of {lost.sum()} of {len(lost)} questions of train no window holds the whole "
                    "answer in tokens: they are learnt as without one"
                )
    return SpanTask(
        name=name,
        splits=splits,
        questions=tuple(everything),
        pad_id=tokenizer.pad_id,
        lengths=lengths,
        stride=stride,
        n_best=n_best,
        longest=longest,
        threshold=threshold,
        window=window,
        note="; ".join(notes),
    )


def _require_places(questions: Sequence[Question]) -> None:
    """Refuses answers that are not in their paragraph where the file says."""
    for question in questions:
        if question.answers and not question.starts:
            raise ValueError(
                f"question {question.id!r} of split 'train' has no answer_start; allowed are "
                "characters of the paragraph, from 0, one for each answer"
            )
        for answer, start in zip(question.answers or (), question.starts, strict=True):
            there = question.context[start : start + len(answer)] if start >= 0 else ""
            if there != answer:
                raise ValueError(
                    f"answer_start is {start} of question {question.id!r} of split 'train', where "
                    f"the paragraph has {checks.shown(there)} and not {checks.shown(answer)}; "
                    "allowed is where the answer begins: correct the file"
                )
