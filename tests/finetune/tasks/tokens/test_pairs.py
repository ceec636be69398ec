"""Two texts in one row: the ids of `encode`, and where the second one's tokens are read."""

import pytest

from finetune.tasks.tokens.tokenizer import Tokenizer, from_fast, from_sentencepiece
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.tokens.test_tokenizer import rows, spm  # noqa: F401

FIRST = ["the cat", "a", "on"]
SECOND = ["a  big cats mat\non", " the", "Quux, b"]


def check(tokenizer: Tokenizer, first=FIRST, second=SECOND):
    """The pairs, after what is true of all tokenizers."""
    pairs = list(tokenizer.pairs(first, second))
    ids, types = tokenizer.encode(first, second, 999)
    assert [list(pair.ids) for pair in pairs] == rows(ids)
    assert [list(pair.types) for pair in pairs] == rows(types)
    for pair, text in zip(pairs, second, strict=True):
        assert pair.first + len(pair.spans) <= len(pair.ids)
        edges = [edge for span in pair.spans for edge in span]
        assert edges == sorted(edges) and edges[-1] <= len(text)
    return pairs


def read(pair, text):
    return [text[begin:end].strip() for begin, end in pair.spans]


def test_a_fast_tokenizer():
    pairs = check(from_fast(made.backend()))
    assert read(pairs[0], SECOND[0]) == ["a", "big", "cat", "s", "mat", "on"]
    assert (pairs[0].first, len(pairs[0].ids)) == (4, 4 + 6 + 1)


def test_without_segments():
    assert not any(any(pair.types) for pair in check(from_fast(made.backend(), segments=False)))


def test_sentencepiece(spm):  # noqa: F811
    pairs = check(from_sentencepiece(spm))
    for pair, text in zip(pairs, SECOND, strict=True):
        assert "".join(read(pair, text)) == "".join(text.split())


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_other_layouts(name, tmp_path):
    check(vocabularies.MAKERS[name](tmp_path))


def test_characters_and_not_bytes():
    """DeBERTaV3's own pieces of text beyond ASCII."""
    text = "é ½ 漢 🤗 naïve ﬁ end"
    path = made.shared("tokenizers", "deberta-v3", "spm.model")
    pair = next(iter(from_sentencepiece(path).pairs(["½?"], [text])))
    words = [word for word in read(pair, text) if word]
    assert words == text.split()
