"""What a tokenizer gives a language model: text as it goes on, its end, and back from ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# Tokens that end a text, of T5 and Llama 2, of Llama 3, and of GPT-2's family.
ENDS = ("</s>", "<|end_of_text|>", "<|endoftext|>")
# A text that others follow; any short word does.
ANCHOR = "a"


class Vocabulary(NamedTuple):
    """The tokens of prompts and answers.

    Attributes:
      plain: texts -> ids of each, no special tokens.
      spaced: `plain` begins every text with a space of its own, as sentencepiece does.
      decode: ids -> the text that they add to one that stands before; special tokens add none.
      before: special ids at the beginning of every text.
      end_id: the id that ends a text.
      marked: `plain` reads special tokens that are spelt out in a text.
    """

    plain: Callable[[Sequence[str]], list[list[int]]]
    spaced: bool
    decode: Callable[[Sequence[int]], str]
    before: tuple[int, ...]
    end_id: int
    marked: bool = False

    def words(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that follow another one after a space."""
        return self.plain(texts if self.spaced else [f" {text}" for text in texts])

    def continued(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts that follow another one as they stand, without a space between."""
        if not self.spaced:
            return self.plain(texts)
        # Behind a line break nothing is put; of T5's there are none.
        line = self.plain(["\n"])[0]
        return [row[len(line) :] for row in self.plain([f"\n{text}" for text in texts])]


def of_fast(backend: Any) -> Vocabulary | None:
    """From a `tokenizers.Tokenizer`; None where the vocabulary has none of `ENDS`."""
    from tokenizers import Tokenizer as Backend

    ends = [backend.token_to_id(token) for token in ENDS]
    ends = [number for number in ends if number is not None]
    if not ends:
        return None
    fast = Backend.from_str(backend.to_str())
    fast.no_padding()
    fast.no_truncation()

    def plain(texts):
        return [row.ids for row in fast.encode_batch(list(texts), add_special_tokens=False)]

    anchor, marked = plain([ANCHOR])[0], fast.encode(ANCHOR).ids
    starts = range(len(marked) - len(anchor) + 1)
    start = next((i for i in starts if marked[i : i + len(anchor)] == anchor), 0)
    decode = _continuing(fast.decode, anchor)
    spaced, before = decode(anchor).startswith(" "), tuple(marked[:start])
    return Vocabulary(plain, spaced, decode, before, ends[0], marked=True)


def of_sentencepiece(model: Any, before: tuple[int, ...], end_id: int) -> Vocabulary:
    """From a `sentencepiece.SentencePieceProcessor`, whose decoder knows no ids past its pieces."""
    size = model.get_piece_size()

    def plain(texts):
        return model.encode(list(texts))

    def decode(ids):
        return model.decode([number for number in ids if number < size])

    anchor = plain([ANCHOR])[0]
    decode = _continuing(decode, anchor)
    return Vocabulary(plain, decode(anchor).startswith(" "), decode, before, end_id)


def _continuing(decode: Callable[[list[int]], str], anchor: list[int]):
    # Decoders drop the space at the beginning of a text, and with it one of the first line's
    # indentation; after another text nothing is dropped.
    shown = decode(anchor)
    return lambda ids: decode([*anchor, *map(int, ids)])[len(shown) :]
