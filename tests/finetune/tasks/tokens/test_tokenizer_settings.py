"""A tokenizer_config.json: equal ids to transformers, or a refusal that names the entry."""

import json

import pytest

from finetune.tasks import load_tokenizer
from tests.finetune.tasks import made
from tests.finetune.tasks.tokens.test_tokenizer import rows

TEXTS = ["The Cat sat on a [SEP] big red mat quux", "thé  cats", "a b c a b c a b c", ""]
OTHERS = ["a mat", "on a red red red mat mat mat", "C", "the"]
QUUX = {"content": "quux", "lstrip": False, "rstrip": False, "normalized": True, "special": False}
BERT = {"tokenizer_class": "BertTokenizer"}


def compare(folder, *pairs):
    """The ids, and segments where there are any, of both programs; their tokenizer."""
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(folder)
    ours = load_tokenizer(folder)
    for first, second in pairs:
        for length in (8, 99):
            result = ours.encode(first, second, length)
            given = (first,) if second is None else (first, second)
            expected = reference(*given, truncation=True, max_length=length)
            assert rows(result.ids) == expected["input_ids"]
            if "token_type_ids" in expected:
                assert rows(result.types) == expected["token_type_ids"]
            elif (folder / "tokenizer.json").is_file():
                assert not result.types.values.any()
    return ours, reference


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"truncation_side": "left"},
        {"do_lower_case": False},
        {"strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"tokenize_chinese_chars": False},
        {"padding_side": "left"},
        {"model_max_length": 4},
        {"split_special_tokens": True},
        {"model_input_names": ["input_ids", "attention_mask"]},
        {"added_tokens_decoder": {"15": QUUX}},
        {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"},
    ],
)
def test_bert(tmp_path, settings):
    made.backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**BERT, **settings}))
    ours, reference = compare(tmp_path, (TEXTS, None), (TEXTS, OTHERS))
    assert ours.pad_id == reference.pad_token_id and ours.size == len(reference)


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_llama_of_bytes(tmp_path, bos, eos, side):
    from tokenizers import ByteLevelBPETokenizer

    fast = ByteLevelBPETokenizer()
    fast.train_from_iterator(made.sentences(50), 300, special_tokens=["<s>", "</s>"])
    fast.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": bos,
        "add_eos_token": eos,
        "truncation_side": side,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours, reference = compare(tmp_path, (TEXTS[:-1], None), (TEXTS, OTHERS))
    # Some versions of transformers leave out what tokenizer.json does not say itself.
    assert ours.vocabulary.before == tuple(i for i in reference("a")["input_ids"][:1] if i == 0)
    assert ours.vocabulary.end_id == 1


def sentencepiece(folder, name, **options):
    """A sentencepiece model trained on made sentences."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(made.sentences(200)),
        model_prefix=str(folder / name.removesuffix(".model")),
        vocab_size=300 if options.get("byte_fallback") else 40,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )


NAMES = ("pad", "bos", "eos", "unk")
DEBERTA = (
    {f"{name}_id": number for number, name in enumerate(NAMES)}
    | {
        f"{name}_piece": piece
        for name, piece in zip(NAMES, made.SPECIAL[:1] + made.SPECIAL[2:], strict=False)
    }
    | {"unk_piece": "[UNK]"}
)


@pytest.mark.parametrize("side", ["left", "right"])
def test_deberta(tmp_path, side):
    transformers = pytest.importorskip("transformers")
    sentencepiece(tmp_path, "spm.model", **DEBERTA)
    settings = {"do_lower_case": False, "truncation_side": side, "vocab_type": "spm"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    reference = transformers.DebertaV2Tokenizer.from_pretrained(tmp_path)
    assert reference.truncation_side == side
    ours = load_tokenizer(tmp_path)
    first, second = made.sentences(20), made.sentences(20, 1)
    for length in (8, 12, 99):
        ids, types = ours.encode(first, second, length)
        expected = reference(first, second, truncation=True, max_length=length)
        assert rows(ids) == expected["input_ids"] and rows(types) == expected["token_type_ids"]


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
def test_llama_of_pieces(tmp_path, bos, eos):
    sentencepiece(tmp_path, "tokenizer.model", model_type="bpe", byte_fallback=True)
    settings = {"add_bos_token": bos, "add_eos_token": eos, "truncation_side": "left"}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", **settings})
    )
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    first, second = made.sentences(20), made.sentences(20, 1)
    ours, reference = compare(tmp_path, (first, None), (first, second))
    assert ours.vocabulary.before == ((reference.bos_token_id,) if bos else ())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"do_lower_case": True},
            "has do_lower_case True, which changes token ids; allowed .* Fal",
        ),
        ({"split_by_punct": True}, "has split_by_punct True"),
        ({"truncation_side": "middle"}, "has truncation_side 'middle'.* allowed .* 'right' or 'le"),
        ({"sp_model_kwargs": {"enable_sampling": True}}, "has sp_model_kwargs"),
        ({"cls_token": {"content": "<cls>"}}, r"has cls_token '<cls>'.* allowed .* '\[CLS\]'"),
        ({"added_tokens_decoder": {"99": {"content": "x"}}}, "has added_tokens_decoder '99: x'"),
        ({"added_tokens_decoder": {"0": {"content": "x"}}}, "has added_tokens_decoder '0: x'"),
    ],
)
def test_refused_beside_a_sentencepiece_model(tmp_path, settings, message):
    sentencepiece(tmp_path, "spm.model", **DEBERTA)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=message) as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)


def test_what_transformers_cannot_read_is_refused(tmp_path):
    made.backend().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    settings = {**BERT, "added_tokens_decoder": {"x": 1}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="cannot be read by transformers") as error:
        load_tokenizer(tmp_path)
    assert "\n" not in str(error.value)
    # A file that is named is read as it is.
    assert load_tokenizer(tmp_path / "tokenizer.json").size == 15
