"""SQuAD for language models: question and paragraph in, the answer in words out.

The form is that of T5 (Raffel et al., arXiv 1910.10683): "question: ... context: ..."; a question
without an answer is answered by one word of its own.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from finetune.tasks import text
from finetune.tasks.generated_text import GeneratedText
from finetune.tasks.language import LanguageTask
from finetune.tasks.prompts import paired
from finetune.tasks.splits import Split
from finetune.tasks.squad import files, rules
from finetune.tasks.squad.files import Question
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.tokenizer import Tokenizer
from finetune.tasks.tokens.vocabulary import Vocabulary

LENGTH = 48
"""Tokens of an answer."""
NONE = "unanswerable"
CUE = "answer:"


@dataclasses.dataclass(frozen=True, eq=False)
class Answers(GeneratedText):
    """A `Reading` of answers; labels are numbers of questions, int (n,).

    Attributes:
      questions: of all splits.
    """

    questions: tuple[Question, ...] = ()

    metrics = rules.METRICS

    def predict(self, answers: np.ndarray) -> list[str]:
        """The answer of every row, "" where the model says that there is none."""
        texts = [row[0].strip() for row in self.texts(answers)]
        return ["" if rules.normalised(answer) == NONE else answer for answer in texts]

    def score(self, predictions: Sequence[str], labels: np.ndarray) -> dict[str, float]:
        """F1 and exact match by the published rules."""
        return rules.score(predictions, [self.questions[number].answers for number in labels])

    def majority(self, labels: np.ndarray) -> dict[str, float]:
        """The score of the most frequent answer, which may be none."""
        most = rules.most_frequent([self.questions[number].answers for number in labels])
        return self.score([most] * len(labels), labels)

    def records(self, predictions: Sequence[str], labels: np.ndarray) -> list[dict[str, Any]]:
        """id, prediction, and the right answers."""
        asked = [self.questions[number] for number in labels]
        return [
            {"id": question.id, "prediction": answer, "answers": list(question.answers)}
            for question, answer in zip(asked, predictions, strict=True)
        ]


def load(
    name: str,
    tokenizer: Tokenizer,
    kind: str,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 512,
    target_length: int = LENGTH,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
) -> LanguageTask:
    """The task, with the splits train and validation.

    Args:
      name, data_dir: as for `files.read`.
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal" or "encoder_decoder".
      max_length: tokens of a prompt; paragraphs are cut at their end, questions never.
      target_length: tokens of an answer, and of what the model writes at most.
      lengths: what both are padded to, see `text.buckets`.
      window: batches sorted by length together, see `batches.shuffled`.

    Training rows that are too long are left out, rows to score are cut; the note counts both.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: what `files.read` refuses, a question that has no room beside its paragraph, no
        training row that is short enough.

    Example:
      load("squad", load_tokenizer("t5-base"), "encoder_decoder", "data").majority("validation")
    """
    vocabulary = vocabulary_of(tokenizer)
    splits, notes, all_questions = {}, [], []
    for split, questions in files.read(name, data_dir).items():
        first = len(all_questions)
        all_questions += questions
        source, whole = _prompts(questions, vocabulary, kind, max_length)
        answers = [question.answers[0] if question.answers else NONE for question in questions]
        target = [[*row, vocabulary.end_id] for row in vocabulary.words(answers)]
        long = ~whole | (np.array(list(map(len, target))) > target_length)
        if split != "train":
            # Never read: the model writes its own. Cut, as its length decides nothing.
            target, long = [row[:target_length] for row in target], ~whole
        if long.any():
            done = "left out" if split == "train" else "cut"
            notes.append(f"{long.sum()} of {len(long)} rows of {split} are too long and {done}")
        chosen = np.flatnonzero(~long) if split == "train" else np.arange(len(questions))
        if not len(chosen):
            raise ValueError(
                f"max_length is {max_length} and target_length {target_length}; allowed are "
                f"lengths that at least one row of split {split!r} fits in"
            )
        inputs = paired((source[row] for row in chosen), (target[row] for row in chosen))
        splits[split] = Split(inputs, chosen + first, chosen)
    return LanguageTask(
        name=name,
        splits=splits,
        kind=kind,
        reading=Answers(vocabulary, target_length, questions=tuple(all_questions)),
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.pad_id,
        lengths=text.buckets(max_length, lengths),
        target_lengths=text.buckets(target_length, lengths),
        window=window,
        note="; ".join(notes),
    )


def _prompts(
    questions: Sequence[Question], vocabulary: Vocabulary, kind: str, max_length: int
) -> tuple[list[list[int]], np.ndarray]:
    """Prompts of at most max_length tokens, and which of them are whole."""
    opening = vocabulary.plain([f"question: {q.question.strip()} context:" for q in questions])
    contexts = vocabulary.words([q.context.strip() for q in questions])
    closing = vocabulary.words([CUE])[0] + (
        [vocabulary.end_id] if kind == "encoder_decoder" else []
    )
    rows, whole = [], []
    for question, before, context in zip(questions, opening, contexts, strict=True):
        room = max_length - len(vocabulary.before) - len(before) - len(closing)
        if room < 1:
            raise ValueError(
                f"max_length is {max_length}; allowed with question {question.id!r} are "
                f"{max_length - room + 1} or more"
            )
        rows.append([*vocabulary.before, *before, *context[:room], *closing])
        whole.append(len(context) <= room)
    return rows, np.array(whole)
