"""Text to token ids: a model's fast tokenizer, or sentencepiece for DeBERTaV3's spm.model.

DeBERTaV3 publishes its tokenizer as spm.model only. It is read here by sentencepiece itself, whose
NFKC normalisation and byte fallback belong to the model; the fast tokenizer that transformers 5
builds from the same file leaves both out and answers [UNK] for characters such as "½" (they agree
on text in ASCII), and AutoTokenizer may refuse the folder (transformers #42583).
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from finetune.tasks.ragged import Ragged

FILES = ("tokenizer.json", "tokenizer_config.json", "config.json", "spm.model", "vocab.txt")


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
      size: number of ids, at most the rows of the model's embedding.
    """

    encode: Callable[[Sequence[str], Sequence[str] | None, int], Encoded]
    pad_id: int
    size: int


def load_tokenizer(source: Any, revision: str | None = None) -> Tokenizer:
    """The tokenizer of a model.

    Args:
      source: a folder or a file (spm.model, tokenizer.json), a name on the Hub, a fast tokenizer of
        transformers, or a Tokenizer, which is returned.
      revision: of a name on the Hub.

    Raises:
      FileNotFoundError: no such folder and no such name, or no tokenizer in it.
      ValueError: an spm.model that is not DeBERTaV3's layout, or a tokenizer that is not fast.

    Example:
      load_tokenizer("microsoft/deberta-v3-base").encode(["A cat."], None, 128)
    """
    if isinstance(source, Tokenizer):
        return source
    if hasattr(source, "backend_tokenizer"):
        return from_fast(source.backend_tokenizer, source.pad_token_id)
    path = pathlib.Path(source)
    if path.is_file():
        return _from_file(path)
    folder = path if path.is_dir() else _download(str(source), revision)
    # spm.model first: a tokenizer.json that transformers saved beside it has lost normalisation.
    for name in ("spm.model", "tokenizer.json"):
        if (folder / name).is_file():
            return _from_file(folder / name)
    if (folder / "vocab.txt").is_file():
        return _through_transformers(folder)
    raise FileNotFoundError(
        f"tokenizer {str(source)!r} has no file of a tokenizer; "
        "allowed are spm.model, tokenizer.json, vocab.txt"
    )


def from_fast(backend: Any, pad_id: int | None = None) -> Tokenizer:
    """A Tokenizer from a `tokenizers.Tokenizer`, which is copied and not changed.

    Raises:
      ValueError: pad_id is None and the vocabulary has neither "[PAD]" nor "<pad>".
    """
    from tokenizers import Tokenizer as Backend

    text = backend.to_str()
    size = backend.get_vocab_size()
    for token in ("[PAD]", "<pad>"):
        pad_id = backend.token_to_id(token) if pad_id is None else pad_id
    if pad_id is None:
        raise ValueError("pad_id is None; allowed without [PAD] or <pad> is an id")

    def encode(first, second, max_length) -> Encoded:
        # Own copy: the file's truncation and padding (128 in MiniLM's) must not outlive it.
        fast = Backend.from_str(text)
        fast.no_padding()
        fast.enable_truncation(max_length)
        pairs = list(first) if second is None else list(zip(first, second, strict=True))
        rows = fast.encode_batch(pairs)
        return Encoded(
            Ragged.from_rows(row.ids for row in rows),
            Ragged.from_rows(row.type_ids for row in rows),
        )

    return Tokenizer(encode, int(pad_id), size)


def from_sentencepiece(path: str | pathlib.Path) -> Tokenizer:
    """[CLS] first [SEP] or [CLS] first [SEP] second [SEP] from DeBERTaV3's spm.model.

    Special tokens that are spelt out in a text are text.

    Raises:
      ValueError: the file is not a sentencepiece model with the pieces [PAD], [CLS] and [SEP].
    """
    import sentencepiece

    path = pathlib.Path(path)
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError:
        raise ValueError(f"file {str(path)!r} is not a sentencepiece model") from None
    special = {}
    for piece in ("[PAD]", "[CLS]", "[SEP]"):
        special[piece] = model.piece_to_id(piece)
        if model.id_to_piece(special[piece]) != piece:
            raise ValueError(
                f"file {str(path)!r} has no piece {piece}; allowed are models of DeBERTaV3's layout"
            )
    pad, cls, sep = special.values()

    def encode(first, second, max_length) -> Encoded:
        ids, types = [], []
        left = model.encode(list(first))
        right = [None] * len(left) if second is None else model.encode(list(second))
        for a, b in zip(left, right, strict=True):
            keep_a, keep_b = longest_first(
                len(a), len(b or ()), max_length - (2 if b is None else 3)
            )
            row = [cls, *a[:keep_a], sep]
            tail = [] if b is None else [*b[:keep_b], sep]
            ids.append(row + tail)
            types.append([0] * len(row) + [1] * len(tail))
        return Encoded(Ragged.from_rows(ids), Ragged.from_rows(types))

    # One more than there are pieces: [MASK] follows them, without a piece of its own.
    return Tokenizer(encode, pad, model.get_piece_size() + 1)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each text stay when they are taken from the longer one until both fit.

    Example:
      >>> longest_first(10, 3, 8)
      (5, 3)
    """
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    if first > second:
        return room - short, short
    return short, room - short


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

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if not tokenizer.is_fast:
        raise ValueError(f"tokenizer {str(folder)!r} is slow; allowed are fast ones")
    return from_fast(tokenizer.backend_tokenizer, tokenizer.pad_token_id)


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
