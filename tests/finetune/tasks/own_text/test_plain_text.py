"""Plain text in blocks of one length."""

import json

import numpy as np
import pytest

from finetune.tasks.own_text import plain_text
from tests.finetune.tasks import made, vocabularies

TEXTS = made.sentences(12)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return vocabularies.llama(tmp_path_factory.mktemp("t"))


def stream(task, split="train"):
    rows = task.split(split).inputs
    rest = np.split(rows["target"].values, rows["target"].offsets[1:-1])
    pairs = zip(rows["source"].values, rest, strict=True)
    return [int(t) for first, rest in pairs for t in (first, *rest)]


def test_blocks_are_the_documents_one_after_the_other(tokenizer, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    task = plain_text.load(file, tokenizer, "causal", max_length=16)
    vocabulary = tokenizer.vocabulary
    expected = [
        t for row in vocabulary.plain(TEXTS) for t in (*vocabulary.before, *row, vocabulary.end_id)
    ]
    result = stream(task)
    assert result == expected[: len(result)] and len(expected) - len(result) <= 1
    lengths = task.split("train").inputs["target"].lengths
    assert (lengths[:-1] == 15).all() and 1 <= lengths[-1] <= 15
    batch = task.batch("train", 0, 0, 2)
    assert batch["input_ids"].shape == (2, 15) and batch["attention_mask"].all()
    assert (batch["labels"] >= 0).all() and (batch["weight"] == 15).all()
    assert task.metrics == ("loss", "perplexity")


def test_documents_are_held_out_whole(tokenizer, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("words\n" + "\n".join(f'"{text}"' for text in TEXTS) + "\n")
    load = {"column": "words", "heldout": 0.25, "max_length": 16}
    task = plain_text.load(file, tokenizer, "causal", **load)
    end = tokenizer.vocabulary.end_id
    assert task.evaluation == "heldout"
    assert stream(task, "heldout").count(end) == 3 and stream(task).count(end) == 9


def test_a_file_of_text_is_a_document(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    task = plain_text.load(tmp_path / "a.txt", tokenizer, "causal", heldout=0.2, max_length=16)
    blocks = len(task.split("train")) + len(task.split("heldout"))
    assert len(task.split("heldout")) == round(0.2 * blocks)


def test_mistakes_are_one_line(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a\.txt has no text; allowed are two tokens or more"):
        plain_text.load(tmp_path / "a.txt", tokenizer, "causal")
    (tmp_path / "b.csv").write_text("a,b\nx,y\n")
    with pytest.raises(ValueError, match=r"column 'text' is not in .*; allowed are a, b"):
        plain_text.load(tmp_path / "b.csv", tokenizer, "causal")
    with pytest.raises(ValueError, match="kind is 'encoder_decoder'; allowed with plain text"):
        plain_text.load(tmp_path / "a.txt", tokenizer, "encoder_decoder")
