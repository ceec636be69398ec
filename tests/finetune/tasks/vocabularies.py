"""Tiny tokenizers laid out as T5's and Llama's, trained on made text."""

import pathlib
import string

import sentencepiece
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from finetune.tasks.tokens.tokenizer import Tokenizer, load_tokenizer
from tests.finetune.tasks import made

TEXT = (
    "Say whether it is positive or negative, acceptable or unacceptable, neutral, entailment, "
    "contradiction, equivalent, duplicate: sentence, premise, hypothesis, question.",
    "How many? She has 3 + 4 = 7 apples, so 12 / 4 = 3. The answer is: 1,234.5",
    "def add(first, second):\n    return first + second\n",
    " ".join(string.printable[:95]),
)


def _train(path: pathlib.Path, **options) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.with_suffix("")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*made.sentences(100), *TEXT * 5]),
        model_prefix=str(prefix),
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    prefix.with_suffix(".vocab").unlink()
    return prefix.with_suffix(".model").rename(path)


def t5(folder: pathlib.Path) -> Tokenizer:
    """A folder with T5's spiece.model: <pad> 0, </s> 1, <unk> 2, no <s>."""
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    _train(folder / "spiece.model", vocab_size=260, model_type="unigram", **ids)
    return load_tokenizer(folder)


def llama(folder: pathlib.Path) -> Tokenizer:
    """A folder with Llama 2's tokenizer.model: <unk> 0, <s> 1, </s> 2, every byte, all spaces."""
    _train(
        folder / "tokenizer.model",
        vocab_size=500,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
    )
    return load_tokenizer(folder)


def byte_level(folder: pathlib.Path) -> Tokenizer:
    """A folder with a tokenizer.json in the manner of Llama 3: byte-level, no space of its own."""
    fast = Backend(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    special = ["<|begin_of_text|>", "<|end_of_text|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(TEXT * 5, trainer)
    fast.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", 0)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


MAKERS = {"t5": t5, "llama": llama, "byte_level": byte_level}
