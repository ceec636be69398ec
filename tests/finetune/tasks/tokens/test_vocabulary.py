"""Tokenizers of language models: special tokens, spaces, and text that goes on where one stood."""

import numpy as np
import pytest

from finetune.tasks.tokens.tokenizer import from_fast, load_tokenizer
from tests.finetune.tasks import made, vocabularies


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocab")
    return {name: maker(folder / name) for name, maker in vocabularies.MAKERS.items()}


def rows(ragged):
    return [row.tolist() for row in np.split(ragged.values, ragged.offsets[1:-1])]


def test_layouts(tokenizers):
    t5, llama, byte = (tokenizers[name] for name in ("t5", "llama", "byte_level"))
    assert (t5.pad_id, t5.vocabulary.before, t5.vocabulary.end_id) == (0, (), 1)
    assert (llama.pad_id, llama.vocabulary.before, llama.vocabulary.end_id) == (2, (1,), 2)
    assert (byte.pad_id, byte.vocabulary.before, byte.vocabulary.end_id) == (1, (0,), 1)
    assert t5.vocabulary.spaced and llama.vocabulary.spaced and not byte.vocabulary.spaced
    a, b = t5.vocabulary.plain(["the cat", "red"])
    assert rows(t5.encode(["the cat"], ["red"], 99).ids) == [[*a, 1, *b, 1]]
    a, b = llama.vocabulary.plain(["the cat", "red"])
    assert rows(llama.encode(["the cat"], ["red"], 99).ids) == [[1, *a, 1, *b]]
    assert len(rows(llama.encode(["the cat sat on"], ["red"], 6).ids)[0]) == 6


@pytest.mark.parametrize("name", vocabularies.MAKERS)
def test_words_follow_after_a_space(tokenizers, name):
    vocabulary = tokenizers[name].vocabulary
    one, two = vocabulary.plain(["the cat"]) + vocabulary.words(["sat on"])
    assert vocabulary.decode([*one, *two]).strip() == "the cat sat on"
    assert vocabulary.decode(two) == " sat on"
    assert vocabulary.decode([*two, vocabulary.end_id]) == " sat on"


@pytest.mark.parametrize("name", ["llama", "byte_level"])
def test_indentation_survives(tokenizers, name):
    vocabulary = tokenizers[name].vocabulary
    code = "    return first + second\n"
    result = vocabulary.decode(vocabulary.plain([code])[0])
    # sentencepiece writes the space that begins a text before it.
    assert result == (" " if vocabulary.spaced else "") + code


def test_ids_past_the_pieces_are_no_text(tokenizers):
    t5 = tokenizers["t5"]
    assert (
        t5.vocabulary.decode([*t5.vocabulary.plain(["the"])[0], t5.size - 1, t5.size + 20])
        == " the"
    )


def test_no_end_no_speech():
    assert from_fast(made.backend()).vocabulary is None


def test_t5_against_transformers(tmp_path):
    import transformers

    ours = vocabularies.t5(tmp_path)
    reference = transformers.T5Tokenizer.from_pretrained(tmp_path)
    texts = ["the cat sat on a mat", "positive", "She has 3 apples"]
    assert rows(ours.encode(texts, None, 64).ids) == reference(texts).input_ids
    assert rows(ours.encode(texts, texts[::-1], 64).ids) == reference(texts, texts[::-1]).input_ids
    assert ours.size == len(reference)
    again = load_tokenizer(reference)
    assert again.vocabulary.end_id == 1 and again.vocabulary.before == ()
    assert again.vocabulary.plain(texts) == ours.vocabulary.plain(texts)


def test_llama_against_transformers(tmp_path):
    import transformers

    ours = vocabularies.llama(tmp_path)
    reference = transformers.LlamaTokenizer.from_pretrained(tmp_path, add_bos_token=True)
    texts = ["the cat sat on a mat", "def add(first, second):\n    return 7"]
    assert rows(ours.encode(texts, None, 64).ids) == reference(texts).input_ids
    again = load_tokenizer(reference)
    assert (
        again.vocabulary.before == (1,) and again.vocabulary.end_id == 2 and again.vocabulary.spaced
    )
    assert again.vocabulary.plain(texts) == ours.vocabulary.plain(texts)
