"""Tokenizers in GGUF files: the ids and the template of the files they were made from."""

import json

import pytest

from finetune.tasks.tokens import tokenizer_files
from finetune.tasks.tokens.tokenizer import load_tokenizer
from tests.finetune.weights import gguf_bytes

pytest.importorskip("gguf", reason="GGUF files need the package gguf (the extra of this name)")
TEXTS = ["a cat  sat", "It's 1234 cats' mats!\n\n ok", "naïve ½ 猫", " <|end|> <s>"]
CORPUS = ["the cat sat on the mat and it's 12 or 1234 cats", "a naïve cat's mat, ok?"] * 20
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
CONTROL, NORMAL = 3, 1


def byte_pairs():
    """A trained tokenizer of GPT-2's kind that cuts as SmolLM2's does."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return backend


def entries(backend, **more):
    """The metadata of a tokenizer."""
    model = json.loads(backend.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    return {
        "tokenizer__ggml__tokens": pieces,
        "tokenizer__ggml__token_type": [CONTROL] * 2 + [NORMAL] * (len(pieces) - 2),
        "tokenizer__ggml__merges": merges,
        "tokenizer__ggml__model": "gpt2",
        "tokenizer__ggml__pre": "smollm",
        **more,
    }


def written(path, backend, **more):
    return gguf_bytes.write_tokenizer(path, **entries(backend, **more))


ENDS = {"tokenizer__ggml__eos_token_id": 1, "tokenizer__ggml__bos_token_id": 1}


def test_byte_pairs(tmp_path):
    backend = byte_pairs()
    path = written(tmp_path / "x.gguf", backend, tokenizer__chat_template=TEMPLATE, **ENDS)
    tokenizer = load_tokenizer(path)
    assert (tokenizer.pad_id, tokenizer.vocabulary.end_id, tokenizer.vocabulary.before) == (
        1,
        1,
        (),
    )
    assert tokenizer.chat_template == TEMPLATE and tokenizer.size == backend.get_vocab_size()
    expected = [backend.encode(text).ids for text in TEXTS]
    assert tokenizer.vocabulary.plain(TEXTS) == expected
    assert tokenizer.vocabulary.decode(expected[1]) == TEXTS[1]
    marked = written(tmp_path / "y.gguf", backend, **ENDS, tokenizer__ggml__add_bos_token=True)
    first = load_tokenizer(marked).encode(TEXTS[:1], TEXTS[1:2], 64).ids.values.tolist()
    assert first == [1, *expected[0], 1, *expected[1]]
    assert load_tokenizer(marked).chat_template is None


def test_other_cuts_are_refused(tmp_path):
    path = written(tmp_path / "x.gguf", byte_pairs(), tokenizer__ggml__pre="falcon")
    with pytest.raises(ValueError, match=r"x\.gguf cuts text as 'falcon' .*; allowed are 'gpt-2'"):
        load_tokenizer(path)
    path = gguf_bytes.write_tokenizer(tmp_path / "y.gguf", tokenizer__ggml__model="bert")
    with pytest.raises(ValueError, match="tokenizer of kind 'bert'; allowed are 'gpt2' and"):
        load_tokenizer(path)


def test_sentencepiece(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    prefix = tmp_path / "m"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(f"{prefix}.model")
    numbers = range(model.get_piece_size())
    kinds = [
        2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1
        for i in numbers
    ]
    path = gguf_bytes.write_tokenizer(
        tmp_path / "x.gguf",
        tokenizer__ggml__model="llama",
        tokenizer__ggml__tokens=[model.id_to_piece(i) for i in numbers],
        tokenizer__ggml__scores=[model.get_score(i) for i in numbers],
        tokenizer__ggml__token_type=kinds,
        tokenizer__ggml__bos_token_id=1,
        tokenizer__ggml__eos_token_id=2,
    )
    ours, reference = load_tokenizer(path), load_tokenizer(f"{prefix}.model")
    # A special token that a text spells out is text to sentencepiece alone.
    texts = TEXTS[:3]
    same = [x.encode(texts, None, 64).ids.values.tolist() for x in (ours, reference)]
    assert same[0] == same[1]
    assert ours.vocabulary.before == reference.vocabulary.before == (1,)
    words = ours.vocabulary.plain(texts)
    assert [ours.vocabulary.decode(row) for row in words] == [f" {text}" for text in texts]


def test_files_for_a_merged_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    backend = byte_pairs()
    path = written(tmp_path / "x.gguf", backend, tokenizer__chat_template=TEMPLATE, **ENDS)
    files = tokenizer_files.of_model(str(path))
    assert {file.name for file in files} == {"tokenizer.json", "tokenizer_config.json"}
    reference = transformers.AutoTokenizer.from_pretrained(files[0].parent)
    assert reference(TEXTS)["input_ids"] == [backend.encode(text).ids for text in TEXTS]
    assert reference.chat_template == TEMPLATE and reference.eos_token == "<|end|>"
    again = load_tokenizer(files[0].parent)
    assert again.chat_template == TEMPLATE


def test_templates_of_folders(tmp_path):
    byte_pairs().save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).chat_template is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": TEMPLATE, "eos_token": "<|end|>"}))
    assert load_tokenizer(tmp_path).chat_template == TEMPLATE
    (tmp_path / "chat_template.jinja").write_text("of its own")
    assert load_tokenizer(tmp_path).chat_template == "of its own"
    (tmp_path / "chat_template.jinja").unlink()
    config.write_text(json.dumps({"chat_template": 3}))
    with pytest.raises(ValueError, match="chat_template is 3; allowed is text"):
        load_tokenizer(tmp_path)
