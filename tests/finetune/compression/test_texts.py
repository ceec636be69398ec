"""Blocks of tokens: how many, how long, in which order, and nothing of a text lost."""

import numpy as np
import pytest

from finetune.compression.texts import Blocks, blocks
from finetune.tasks import load_tokenizer
from tests.finetune.tasks import vocabularies
from tests.finetune.tasks.made import backend, sentences


def rows(lengths):
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int32)
    return Blocks(np.arange(mask.size, dtype=np.int32).reshape(mask.shape) * mask, mask)


@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_batches_hold_every_token_once(size):
    given = rows([5, 40, 33, 2, 64, 70, 1])
    batches = list(given.batches(size))
    assert sum(int(batch["attention_mask"].sum()) for batch in batches) == given.tokens
    ids = np.concatenate([batch["input_ids"][batch["attention_mask"] > 0] for batch in batches])
    np.testing.assert_array_equal(np.sort(ids), np.sort(given.ids[given.mask > 0]))
    assert {batch["input_ids"].shape[1] for batch in batches} <= {32, 64, 70}
    assert len({len(batch["input_ids"]) for batch in batches}) == 1


def test_halves_are_apart_and_a_digest_is_of_the_rows():
    given = rows([5, 40, 3])
    first, second = given.halves()
    assert first.tokens + second.tokens == given.tokens
    np.testing.assert_array_equal(first.ids, given.ids[[0, 2]])
    assert given.digest == rows([5, 40, 3]).digest != first.digest
    with pytest.raises(ValueError, match="one row"):
        second.halves()


def test_a_causal_model_reads_full_blocks(tmp_path):
    tokenizer = vocabularies.byte_level(tmp_path / "llama")
    texts = ["Once upon a time.", "", "There was a matrix."] * 4
    given = blocks(tokenizer, "causal", texts, 8, 40)
    assert given.ids.shape == (5, 8) and given.mask.all()
    vocabulary, stream = tokenizer.vocabulary, []
    for row in vocabulary.plain(texts):
        stream += [*vocabulary.before, *row, vocabulary.end_id] if row else []
    assert given.ids.ravel().tolist() == stream[:40]


def test_an_encoder_reads_a_text_per_row(tmp_path):
    backend().save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    texts = sentences(6)
    given = blocks(tokenizer, "encoder", texts, 16)
    lengths = tokenizer.encode(texts, None, 16).ids.lengths
    np.testing.assert_array_equal(given.mask.sum(axis=1), lengths)
    few = blocks(tokenizer, "encoder", texts, 16, int(lengths[:2].sum()))
    assert len(few.ids) == 2


@pytest.mark.parametrize(
    ("kind", "texts", "message"),
    [("causal", [""], "empty"), ("encoder", [], "empty"), ("encoder_decoder", ["a"], "kind")],
)
def test_refused(kind, texts, message, tmp_path):
    tokenizer = vocabularies.byte_level(tmp_path / "llama")
    with pytest.raises(ValueError, match=message):
        blocks(tokenizer, kind, texts, 8)
