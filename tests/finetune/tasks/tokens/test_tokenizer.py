"""Token ids against the tokenizers of transformers, on made and on published vocabularies."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.tasks import load_tokenizer
from finetune.tasks.files.sources import read
from finetune.tasks.tokens.tokenizer import from_fast, from_sentencepiece, longest_first
from tests.finetune.tasks import made

CLS, SEP = 2, 3


def rows(ragged) -> list[list[int]]:
    return [row.tolist() for row in np.split(ragged.values, ragged.offsets[1:-1])]


@pytest.fixture(scope="module")
def spm(tmp_path_factory):
    """A sentencepiece model with DeBERTaV3's special pieces, trained on made sentences."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("spm")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(made.sentences(200)),
        model_prefix=str(folder / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(("pad", "bos", "eos", "unk"))},
        **{"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"},
    )
    return folder / "spm.model"


def test_a_fast_tokenizer():
    tokenizer = from_fast(made.backend())
    assert (tokenizer.pad_id, tokenizer.size) == (0, 15)
    ids, types = tokenizer.encode(["the cats", "a"], ["a mat", "quux"], 10)
    assert rows(ids) == [[2, 7, 8, 14, 3, 4, 10, 3], [2, 4, 3, 1, 3]]
    assert rows(types) == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert rows(tokenizer.encode(["the cat"], None, 10).types) == [[0, 0, 0, 0]]


def test_truncation_and_padding_in_the_file_do_not_count():
    backend = made.backend(max_length=4)
    tokenizer = from_fast(backend)
    assert [len(row) for row in rows(tokenizer.encode(["a b c a b c", "a"], None, 7).ids)] == [7, 3]
    # And the caller's own object is as it was.
    assert len(backend.encode("a b c a b c").ids) == 4


def test_sources(tmp_path):
    made.backend().save(str(tmp_path / "tokenizer.json"))
    expected = rows(from_fast(made.backend()).encode(["the cat"], None, 9).ids)
    for source in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json"):
        assert rows(load_tokenizer(source).encode(["the cat"], None, 9).ids) == expected
    tokenizer = load_tokenizer(tmp_path)
    assert load_tokenizer(tokenizer) is tokenizer


def test_sentencepiece_layout(spm):
    import sentencepiece

    tokenizer = load_tokenizer(spm.parent)
    model = sentencepiece.SentencePieceProcessor(model_file=str(spm))
    a, b = model.encode(["the cat sat", "on a mat"])
    ids, types = tokenizer.encode(["the cat sat"], ["on a mat"], 99)
    assert rows(ids) == [[1, *a, 2, *b, 2]]
    assert rows(types) == [[0] * (len(a) + 2) + [1] * (len(b) + 1)]
    assert rows(tokenizer.encode(["the cat sat", ""], None, 99).ids) == [[1, *a, 2], [1, 2]]
    assert tokenizer.pad_id == 0
    assert tokenizer.size == model.get_piece_size() + 1
    # A text cannot forge a separator.
    assert rows(tokenizer.encode(["[SEP]"], None, 99).ids)[0][1:-1].count(2) == 0


def test_truncation_of_sentencepiece(spm):
    tokenizer = from_sentencepiece(spm)
    whole, cut = (tokenizer.encode(["a b c a b c a"], ["b a"], length) for length in (99, 8))
    assert [len(row) for row in rows(cut.ids)] == [8]
    first = rows(whole.ids)[0]
    assert rows(cut.ids)[0] == [*first[:4], 2, *first[-3:]]


def removed_one_by_one(first, second, room):
    while first + second > room:
        if first > second:
            first -= 1
        else:
            second -= 1
    return first, second


@given(first=st.integers(0, 40), second=st.integers(0, 40), room=st.integers(1, 40))
def test_longest_first_takes_tokens_from_the_longer_text(first, second, room):
    got = longest_first(first, second, room)
    assert sum(got) == min(first + second, room)
    expected = removed_one_by_one(first, second, room)
    # On a tie it is open which text loses the odd token.
    assert max(abs(a - b) for a, b in zip(got, expected, strict=True)) <= 1
    assert got[0] <= first and got[1] <= second


@given(first=st.integers(1, 15), second=st.integers(1, 15), length=st.integers(8, 24))
def test_longest_first_is_that_of_fast_tokenizers(first, second, length):
    ids = from_fast(made.backend()).encode(["a " * first], ["b " * second], length).ids
    row = rows(ids)[0]
    assert (row.count(4), row.count(5)) == longest_first(first, second, length - 3)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("spm.model", b"no", ValueError, "spm.model' is not a sentencepiece model"),
        ("tokenizer.json", b"{}", ValueError, "tokenizer.json' is not a tokenizer.json"),
        ("notes.txt", b"", FileNotFoundError, "has no file of one; allowed are spm.model"),
    ],
)
def test_refused(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        load_tokenizer(tmp_path)


def test_refused_layouts(tmp_path):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(made.sentences(50)),
        model_prefix=str(tmp_path / "spm"),
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        bos_id=-1,
        eos_id=-1,
    )
    with pytest.raises(
        ValueError, match=r"has no piece \[PAD\]; allowed are models of DeBERTaV3's"
    ):
        load_tokenizer(tmp_path)
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    with pytest.raises(ValueError, match=r"pad_id is None; allowed without \[PAD\]"):
        from_fast(Backend(models.WordLevel({"a": 0}, unk_token="a")))


def test_a_name_that_the_hub_does_not_have(monkeypatch):
    import huggingface_hub

    def fail(name, **arguments):
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(FileNotFoundError, match=r"'no/where' is neither a folder nor .* \(offline"):
        load_tokenizer("no/where")


def test_a_name_on_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    made.backend().save(str(tmp_path / "tokenizer.json"))
    asked = {}

    def download(name, **arguments):
        asked.update(arguments, name=name)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_tokenizer("some/model", revision="abc").size == 15
    assert asked["name"] == "some/model" and asked["revision"] == "abc"
    # Never the weights.
    assert not any("safetensors" in pattern for pattern in asked["allow_patterns"])


def test_a_folder_with_a_word_list_only(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join((*made.SPECIAL, "[MASK]", "the", "cat")) + "\n")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert rows(tokenizer.encode(["The cat"], None, 9).ids) == [[2, 5, 6, 3]]


def test_bert_against_transformers():
    import transformers

    folder = made.shared("tokenizers", "bert-base-uncased")
    table = read(made.shared("glue", "mrpc", "validation.parquet"))
    first, second = table.column("sentence1")[:100], table.column("sentence2")[:100]
    reference = transformers.BertTokenizer.from_pretrained(folder)
    expected = reference(first, second, truncation=True, max_length=64)
    for source in (folder, reference):
        ids, types = load_tokenizer(source).encode(first, second, 64)
        assert rows(ids) == expected["input_ids"]
        assert rows(types) == expected["token_type_ids"]


def test_deberta_against_transformers(tmp_path):
    """Equal on ASCII; elsewhere transformers loses characters that the model's own file knows."""
    import transformers

    shutil.copy(made.shared("tokenizers", "deberta-v3", "spm.model"), tmp_path)
    reference = transformers.DebertaV2Tokenizer.from_pretrained(tmp_path)
    ours = load_tokenizer(tmp_path)
    assert ours.size == len(reference) and ours.pad_id == reference.pad_token_id
    unknown = reference.unk_token_id
    for task, columns in (("mrpc", ("sentence1", "sentence2")), ("qnli", ("question", "sentence"))):
        table = read(made.shared("glue", task, "validation.parquet"))
        first, second = (table.column(column)[:400] for column in columns)
        expected = reference(first, second, truncation=True, max_length=64)
        ids, types = ours.encode(first, second, 64)
        ours_rows = zip(first, second, rows(ids), rows(types), strict=True)
        for number, (a, b, row, kind) in enumerate(ours_rows):
            if (a + b).isascii():
                assert row == expected["input_ids"][number]
                assert kind == expected["token_type_ids"][number]
            elif row != expected["input_ids"][number]:
                assert unknown in expected["input_ids"][number] and unknown not in row
    half = rows(ours.encode(["2½"], None, 9).ids)[0]
    assert unknown not in half and unknown in reference("2½")["input_ids"]
