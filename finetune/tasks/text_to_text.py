"""GLUE as text to text: an instruction, the sentences, a cue, and the label in words.

The frame is that of the T5 protocol of LoRA-GA and LoRA-One (instruction, text, "result:", label);
the wording is ours. STS-B's labels are numbers in words, rounded to the next fifth as in T5
(Raffel et al., arXiv 1910.10683, section 2.4): 26 answers, of which the choice is the predicted
number.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from finetune.tasks import glue, text
from finetune.tasks.choices import Choices, tokens_of
from finetune.tasks.files import columns
from finetune.tasks.glue import GLUE, TOP_SCORE, Spec
from finetune.tasks.language import LanguageTask
from finetune.tasks.splits import Split
from finetune.tasks.tokens.ragged import Ragged
from finetune.tasks.tokens.tokenizer import Tokenizer, longest_first
from finetune.tasks.tokens.vocabulary import Vocabulary

INSTRUCTIONS = {
    "cola": "Decide whether the sentence is acceptable or unacceptable English.",
    "sst2": "Decide whether the sentiment of the sentence is positive or negative.",
    "mrpc": "Decide whether the two sentences are equivalent or different in meaning.",
    "qqp": "Decide whether the two questions are duplicate or different.",
    "stsb": "Rate how similar the two sentences are, from 0.0 to 5.0.",
    "mnli": "Decide between entailment, neutral and contradiction of the hypothesis.",
    "qnli": "Decide whether the sentence answers the question: entailment or not.",
    "rte": "Decide whether the first sentence entails the second: entailment or not.",
}
CUE = "result:"
# Words whose tokens differ from the first on in most vocabularies, where GLUE's names do not.
WORDS = {
    "mrpc": ("different", "equivalent"),
    "qqp": ("different", "duplicate"),
    "qnli": ("entailment", "not entailment"),
    "rte": ("entailment", "not entailment"),
}
# A fifth apart, as T5 rounds.
SCORES = tuple(f"{number / 5:.1f}" for number in range(round(5 * TOP_SCORE) + 1))


def load(
    name: str,
    tokenizer: Tokenizer,
    kind: str,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 128,
    lengths: Sequence[int] = text.LENGTHS,
    window: int = 1,
    test: bool = False,
) -> LanguageTask:
    """A GLUE task whose answers are words.

    Args:
      name, data_dir, lengths, window, test: as for `finetune.tasks.glue.load`.
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal" or "encoder_decoder".
      max_length: tokens of a prompt; sentences are cut, the longer one first, the cue never.

    Raises:
      FileNotFoundError, ConnectionError: as for `finetune.tasks.glue.load`.
      ValueError: as there; a tokenizer without a token that ends a text, one that does not tell the
        answers apart, or a max_length that has no room for a word beside the instruction.

    Example:
      load("mrpc", load_tokenizer("t5-base"), "encoder_decoder", "data/glue")
    """
    read = glue.tables(name, data_dir, test)
    spec, vocabulary = GLUE[name], vocabulary_of(tokenizer)
    lengths = text.buckets(max_length, lengths)
    reading = _reading(name, spec, vocabulary)
    splits = {}
    for split, (table, known) in read.items():
        texts = [columns.texts(table, column) for column in spec.texts]
        # A hidden label has no answer; any one keeps its place, and what is read does not use it.
        classes = np.zeros(len(texts[0]), int) if known is None else reading.classes(known)
        inputs = {
            "source": prompts(name, texts, vocabulary, kind, max_length),
            "target": Ragged.from_rows(reading.tokens[number] for number in classes),
        }
        splits[split] = Split(inputs, known)
    return LanguageTask(
        name=name,
        splits=splits,
        kind=kind,
        reading=reading,
        pad_id=tokenizer.pad_id,
        start_id=tokenizer.pad_id,
        lengths=lengths,
        target_lengths=(reading.room,),
        window=window,
        note=glue.note(name, splits),
    )


def prompts(
    name: str, texts: Sequence[Sequence[str]], vocabulary: Vocabulary, kind: str, max_length: int
) -> Ragged:
    """instruction, "column: sentence" once or twice, cue: n rows of at most max_length tokens."""
    spec = GLUE[name]
    opening = [*vocabulary.before, *vocabulary.plain([f"{INSTRUCTIONS[name]} {spec.texts[0]}:"])[0]]
    between = vocabulary.words([f"{spec.texts[1]}:"])[0] if len(texts) == 2 else []
    closing = vocabulary.words([CUE])[0] + (
        [vocabulary.end_id] if kind == "encoder_decoder" else []
    )
    room = max_length - len(opening) - len(between) - len(closing)
    if room < len(texts):
        least = max_length - room + len(texts)
        raise ValueError(
            f"max_length is {max_length}; allowed with this prompt are {least} or more"
        )
    first = vocabulary.words(texts[0])
    second = vocabulary.words(texts[1]) if len(texts) == 2 else [[]] * len(first)
    rows = []
    for a, b in zip(first, second, strict=True):
        keep_a, keep_b = longest_first(len(a), len(b), room)
        rows.append([*opening, *a[:keep_a], *between, *b[:keep_b], *closing])
    return Ragged.from_rows(rows)


def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """The tokenizer's `vocabulary`.

    Raises:
      ValueError: it has none.
    """
    if tokenizer.vocabulary is None:
        raise ValueError(
            "tokenizer has no token that ends a text; allowed for text to text are those of "
            "language models, as T5 and Llama"
        )
    return tokenizer.vocabulary


def _reading(name: str, spec: Spec, vocabulary: Vocabulary) -> Choices:
    if spec.label_names:
        words = WORDS.get(name, spec.label_names)
        return Choices(words, tokens_of(words, vocabulary), spec.metrics)
    values = np.array([float(score) for score in SCORES])
    return Choices(SCORES, tokens_of(SCORES, vocabulary), spec.metrics, values)
