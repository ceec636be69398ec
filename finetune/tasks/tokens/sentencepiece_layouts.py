"""Where the sentencepiece models of DeBERTaV3, T5 and Llama put their special tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from finetune.tasks.tokens import vocabulary
from finetune.tasks.tokens.vocabulary import Vocabulary


class Layout(NamedTuple):
    """Special ids: before the first text, between (before the second), after each; padding.

    `beyond` ids follow those of the pieces, without pieces of their own; `roles` are the names of
    these tokens in a tokenizer_config.json.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    pad: int
    beyond: int
    vocabulary: Vocabulary | None
    roles: Mapping[str, str]


def of_model(model: Any, settings: Mapping[str, Any]) -> Layout | None:
    """The layout of DeBERTaV3's, T5's or Llama's model; None for another.

    Args:
      model: a `sentencepiece.SentencePieceProcessor`.
      settings: the entries of a tokenizer_config.json.
    """
    special = {p: model.piece_to_id(p) for p in ("[PAD]", "[CLS]", "[SEP]", "<pad>", "<s>", "</s>")}
    has = {p: number for p, number in special.items() if model.id_to_piece(number) == p}
    if {"[PAD]", "[CLS]", "[SEP]"} <= set(has):
        # [MASK] alone follows the pieces.
        roles = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
        return Layout((has["[CLS]"],), (), (has["[SEP]"],), has["[PAD]"], 1, None, roles)
    # A control piece, not one that a text can spell.
    if "</s>" not in has or not model.is_control(has["</s>"]):
        return None
    if "<pad>" in has:
        # T5: its hundred sentinels follow the pieces.
        end = (has["</s>"],)
        vocab = vocabulary.of_sentencepiece(model, (), *end)
        return Layout((), (), end, has["<pad>"], 100, vocab, {"eos_token": "</s>"})
    if "<s>" in has:
        begin = (has["<s>"],) if settings.get("add_bos_token", True) else ()
        end = (has["</s>"],) if settings.get("add_eos_token", False) else ()
        vocab = vocabulary.of_sentencepiece(model, begin, has["</s>"])
        roles = {"bos_token": "<s>", "eos_token": "</s>"}
        return Layout(begin, begin, end, has["</s>"], 0, vocab, roles)
    return None
