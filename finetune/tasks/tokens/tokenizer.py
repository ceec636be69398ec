"""Text to token ids: a model's fast tokenizer, or sentencepiece for its own model files.

DeBERTaV3 publishes its tokenizer as spm.model only. It is read here by sentencepiece itself, whose
NFKC normalisation and byte fallback belong to the model; the fast tokenizer that transformers 5
builds from the same file leaves both out and answers [UNK] for characters such as "½" (they agree
on text in ASCII), and AutoTokenizer may refuse the folder (transformers #42583). The files of T5
(spiece.model) and Llama (tokenizer.model) are read the same way where there is no tokenizer.json.

A tokenizer_config.json in the folder is obeyed: beside a tokenizer.json transformers reads both,
beside a sentencepiece model see `tokenizer_settings`. Its model_max_length gives way to max_length,
as in transformers, and padding, which is masked, is where the model wants it.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from finetune.tasks.tokens import (
    chat,
    gguf_tokenizers,
    pairs,
    sentencepiece_layouts,
    tokenizer_settings,
    vocabulary,
)
from finetune.tasks.tokens.pairs import Pair, longest_first
from finetune.tasks.tokens.ragged import Ragged
from finetune.tasks.tokens.vocabulary import Vocabulary
from finetune.weights.gguf_files import is_gguf

# spm.model first: a tokenizer.json that transformers saved beside it has lost normalisation.
WHOLE = ("spm.model", "tokenizer.json", "spiece.model", "tokenizer.model")
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json")
FILES = (*WHOLE, *BESIDE, "vocab.txt", tokenizer_settings.TEMPLATE)


class Encoded(NamedTuple):
    """Token ids of n texts or pairs, special tokens included, and their segments (0 or 1)."""

    ids: Ragged
    types: Ragged


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """encode(first, second or None, max_length) -> Encoded; pairs lose tokens longest first.

    Attributes:
      encode: the function.
      pad_id: the id that fills batches up.
      size: the largest id and one, at most the rows of the model's embedding.
      vocabulary: what a language model needs; None where no token ends a text.
      chat_template: jinja2 source that writes chats as the model reads them; None if there is none.
      special_tokens: name, as bos_token, -> text, for the template.
      pairs: (first, second) -> a `Pair` of each, with the places of tokens in the second text.
    """

    encode: Callable[[Sequence[str], Sequence[str] | None, int], Encoded]
    pad_id: int
    size: int
    vocabulary: Vocabulary | None = None
    chat_template: str | None = None
    special_tokens: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pairs: Callable[[Sequence[str], Sequence[str]], Iterable[Pair]] | None = None


def load_tokenizer(source: Any, revision: str | None = None) -> Tokenizer:
    """The tokenizer of a model.

    Args:
      source: a folder or a file (tokenizer.json, a sentencepiece model, or a GGUF file), a name on
        the Hub, a fast tokenizer of transformers, or a Tokenizer, which is returned.
      revision: of a name on the Hub.

    Raises:
      FileNotFoundError: no such folder and no such name, or no tokenizer in it.
      ValueError: a sentencepiece model that is not laid out as DeBERTaV3's, T5's or Llama's, a
        tokenizer that is not fast or that transformers cannot read, or a tokenizer_config.json with
        an entry that is not done here.

    Example:
      load_tokenizer("microsoft/deberta-v3-base").encode(["A cat."], None, 128)
    """
    if isinstance(source, Tokenizer):
        return source
    if hasattr(source, "backend_tokenizer"):
        return _of_transformers(source)
    path = pathlib.Path(source)
    if path.is_file():
        return from_gguf(path) if is_gguf(path) else _from_file(path)
    folder = path if path.is_dir() else _download(str(source), revision)
    settings = tokenizer_settings.beside(folder)
    return dataclasses.replace(
        _from_folder(folder, settings, str(source)),
        chat_template=tokenizer_settings.chat_template(folder),
        special_tokens=chat.special_tokens(folder, settings),
    )


def from_gguf(path: str | pathlib.Path) -> Tokenizer:
    """The tokenizer of a GGUF file, which says itself what fills batches up and ends a text.

    Raises:
      ValueError: as `finetune.tasks.tokens.gguf_tokenizers.backend_of`.
    """
    pad_id, end_id = gguf_tokenizers.special_ids(path)
    pad_id = end_id if pad_id is None else pad_id
    fast = from_fast(gguf_tokenizers.backend_of(path), pad_id, segments=False)
    if fast.vocabulary is not None and end_id is not None:
        fast = dataclasses.replace(fast, vocabulary=fast.vocabulary._replace(end_id=end_id))
    settings = gguf_tokenizers.settings(path)
    template, tokens = settings.get("chat_template"), chat.texts(settings)
    return dataclasses.replace(fast, chat_template=template, special_tokens=tokens)


def _from_folder(folder: pathlib.Path, settings: Mapping[str, Any], source: str) -> Tokenizer:
    name = next((name for name in WHOLE if (folder / name).is_file()), None)
    if name is not None and name.endswith(".model"):
        return from_sentencepiece(folder / name, settings)
    if name is not None and not settings:
        return _from_file(folder / name)
    if name is not None or (folder / "vocab.txt").is_file():
        return _through_transformers(folder)
    allowed = ", ".join((*WHOLE, "vocab.txt"))
    raise FileNotFoundError(f"tokenizer {source!r} has no file of one; allowed are {allowed}")


def from_fast(
    backend: Any, pad_id: int | None = None, side: str = "right", segments: bool = True
) -> Tokenizer:
    """A Tokenizer from a `tokenizers.Tokenizer`, which is copied and not changed.

    Llama's have no token for padding: that which ends a text takes its place, under the mask.

    Args:
      backend: the tokenizer.
      pad_id: fills batches up.
      side: on which long texts are cut, "right" or "left".
      segments: the second text of a pair is segment 1, else 0 as the first.

    Raises:
      ValueError: pad_id is None and the vocabulary has neither "[PAD]" nor "<pad>" nor a token
        that ends a text.
    """
    from tokenizers import Tokenizer as Backend

    text, spelt_out = backend.to_str(), backend.encode_special_tokens
    # Not their number: there may be gaps between ids.
    size = 1 + max(backend.get_vocab(with_added_tokens=True).values())
    for token in ("[PAD]", "<pad>"):
        pad_id = backend.token_to_id(token) if pad_id is None else pad_id
    vocab = vocabulary.of_fast(backend)
    pad_id = vocab.end_id if pad_id is None and vocab else pad_id
    if pad_id is None:
        raise ValueError("pad_id is None; allowed without [PAD] or <pad> is an id")

    def encode(first, second, max_length) -> Encoded:
        # Own copy: the file's truncation and padding (128 in MiniLM's) must not outlive it.
        fast = Backend.from_str(text)
        fast.no_padding()
        fast.enable_truncation(max_length, direction=side)
        fast.encode_special_tokens = spelt_out  # not in the text
        pairs = list(first) if second is None else list(zip(first, second, strict=True))
        rows = fast.encode_batch(pairs)
        types = Ragged.from_rows(row.type_ids for row in rows)
        if not segments:
            types = dataclasses.replace(types, values=np.zeros_like(types.values))
        return Encoded(Ragged.from_rows(row.ids for row in rows), types)

    both = pairs.of_fast(backend, segments)
    return Tokenizer(encode, int(pad_id), size, vocab, pairs=both)


def from_sentencepiece(
    path: str | pathlib.Path, settings: Mapping[str, Any] | None = None
) -> Tokenizer:
    """[CLS] first [SEP] or [CLS] first [SEP] second [SEP] from DeBERTaV3's spm.model.

    From T5's it is first </s> or first </s> second </s>, from Llama's <s> first or <s> first <s>
    second. Special tokens that are spelt out in a text are text.

    Args:
      path: of the model.
      settings: the entries of a tokenizer_config.json.

    Raises:
      ValueError: the file is not a sentencepiece model, or has neither the pieces [PAD], [CLS] and
        [SEP] nor those of T5 (<pad>, </s>) or Llama (<s>, </s>); a setting that is not done here.
    """
    import sentencepiece

    path = pathlib.Path(path)
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError:
        raise ValueError(f"file {str(path)!r} is not a sentencepiece model") from None
    settings = settings or {}
    layout = sentencepiece_layouts.of_model(model, settings)
    if layout is None:
        raise ValueError(
            f"file {str(path)!r} has no piece [PAD]; "
            "allowed are models of DeBERTaV3's, T5's and Llama's layout"
        )
    size = model.get_piece_size() + layout.beyond
    tokenizer_settings.require(settings, model, size, layout.roles)
    left_out = settings.get("truncation_side") == "left"

    def cut(row, keep):
        return row[len(row) - keep :] if left_out else row[:keep]

    def encode(first, second, max_length) -> Encoded:
        ids, types = [], []
        left = model.encode(list(first))
        right = [None] * len(left) if second is None else model.encode(list(second))
        for a, b in zip(left, right, strict=True):
            added = len(layout.before) + len(layout.after)
            added += 0 if b is None else len(layout.between) + len(layout.after)
            keep_a, keep_b = longest_first(len(a), len(b or ()), max_length - added)
            row = [*layout.before, *cut(a, keep_a), *layout.after]
            tail = [] if b is None else [*layout.between, *cut(b, keep_b), *layout.after]
            ids.append(row + tail)
            types.append([0] * len(row) + [1] * len(tail))
        return Encoded(Ragged.from_rows(ids), Ragged.from_rows(types))

    both = pairs.of_sentencepiece(model, layout)
    return Tokenizer(encode, layout.pad, size, layout.vocabulary, pairs=both)


def _from_file(path: pathlib.Path) -> Tokenizer:
    if path.suffix == ".model":
        return from_sentencepiece(path)
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        line = str(error).splitlines()[0]
        raise ValueError(f"file {str(path)!r} is not a tokenizer.json ({line})") from None
    return from_fast(backend)


def _through_transformers(folder: pathlib.Path) -> Tokenizer:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises nearly every type for a folder it cannot read
        line = (str(error).splitlines() or [""])[0][:200]
        raise ValueError(
            f"tokenizer {str(folder)!r} cannot be read by transformers ({type(error).__name__}: "
            f"{line}); allowed without {tokenizer_settings.FILE} is a tokenizer.json as it is"
        ) from None
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer {str(folder)!r} is slow; allowed are fast ones")
    return _of_transformers(tokenizer)


def _of_transformers(tokenizer: Any) -> Tokenizer:
    fast = from_fast(
        tokenizer.backend_tokenizer,
        tokenizer.pad_token_id,
        tokenizer.truncation_side,
        "token_type_ids" in tokenizer.model_input_names,
    )
    template = getattr(tokenizer, "chat_template", None)
    return dataclasses.replace(
        fast,
        chat_template=tokenizer_settings.default_template(template),
        special_tokens=chat.texts(tokenizer.special_tokens_map),
    )


def _download(name: str, revision: str | None) -> pathlib.Path:
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=list(FILES)
        )
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise FileNotFoundError(
            f"tokenizer {name!r} is neither a folder nor to be had from the Hub ({line})"
        ) from None
    return pathlib.Path(folder)
