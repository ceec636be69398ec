"""Rows of a user's file as prompts and completions: two columns of text, or chats."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from finetune.tasks.files import columns
from finetune.tasks.files.table import Table
from finetune.tasks.tokens.chat import Chat
from finetune.tasks.tokens.tokenizer import Tokenizer
from finetune.tasks.tokens.vocabulary import Vocabulary
from rankwise import checks

PROMPT, COMPLETION, MESSAGES = "prompt", "completion", "messages"
Rows = list[list[int]]


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where prompts and completions stand.

    Attributes:
      prompt, completion: columns of texts.
      messages: a column of chats, lists of messages with role and content; None for one named
        "messages" in a file without the column of prompts.
      chat: prompts and completions are turns of a chat in the tokenizer's template.
    """

    prompt: str = PROMPT
    completion: str = COMPLETION
    messages: str | None = None
    chat: bool = False

    def of_chats(self, table: Table) -> str | None:
        """The column of chats that is read; None where the two columns of text are."""
        if self.messages is None and self.prompt not in table.names and MESSAGES in table.names:
            return MESSAGES
        return self.messages


def tokenized(
    table: Table, expected: Columns, tokenizer: Tokenizer, vocabulary: Vocabulary, kind: str
) -> tuple[Rows, Rows]:
    """Ids of the prompts and of the completions behind them, with all special tokens.

    Raises:
      ValueError: a column that is not there, an empty prompt or completion, a chat that does not
        end in an answer, a template that is missing or refuses a chat.
    """
    column = expected.of_chats(table)
    if column is None and not expected.chat:
        prompts, completions = _pairs(table, expected)
        return asked(prompts, vocabulary, kind), answered(completions, vocabulary, kind)
    chat = template(tokenizer)
    if column is None:
        pairs = zip(*_pairs(table, expected), strict=True)
        column, chats = expected.prompt, [[said("user", p), said("assistant", c)] for p, c in pairs]
    else:
        chats = _chats(table, column)
    turns = []
    for row, messages in enumerate(chats):
        try:
            turns.append(chat.turn(messages))
        except ValueError as error:
            raise ValueError(f"{_at(table, column, row)}: {error}") from None
    before, after = zip(*turns, strict=True) if turns else ((), ())
    return vocabulary.plain(before), vocabulary.plain(after)


def asked(prompts: Sequence[str], vocabulary: Vocabulary, kind: str) -> Rows:
    """Prompts as they stand, with the special tokens that the kind of model reads."""
    end = [vocabulary.end_id] if kind == "encoder_decoder" else []
    return [[*vocabulary.before, *row, *end] for row in vocabulary.plain(prompts)]


def answered(completions: Sequence[str], vocabulary: Vocabulary, kind: str) -> Rows:
    """Completions as they follow the prompts, without a space between; each with its end."""
    rows = vocabulary.plain if kind == "encoder_decoder" else vocabulary.continued
    return [[*row, vocabulary.end_id] for row in rows(completions)]


def template(tokenizer: Tokenizer) -> Chat:
    """The tokenizer's chats.

    Raises:
      ValueError: it has no template, or does not read the special tokens that one writes.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            "the model's tokenizer has no chat_template, in tokenizer_config.json or "
            "chat_template.jinja; allowed are columns of prompts and completions without --chat, "
            "or a model that has one"
        )
    if tokenizer.vocabulary is None or not tokenizer.vocabulary.marked:
        raise ValueError(
            "the model's tokenizer is a sentencepiece model, which does not read special tokens "
            "in a text; allowed with a chat template is a tokenizer.json"
        )
    return Chat(tokenizer.chat_template, tokenizer.special_tokens)


def ends(tokenizer: Tokenizer, chat: bool) -> tuple[int, ...]:
    """The tokens that end an answer: that of texts, and of chats what their template puts there."""
    vocabulary = tokenizer.vocabulary
    if not chat:
        return (vocabulary.end_id,)
    word = "Zq7"  # which no template has of its own
    answer = template(tokenizer).turn([said("user", word), said("assistant", word)])[1]
    behind = vocabulary.plain([answer.rpartition(word)[2].strip()])[0][:1]
    # Special tokens add no text; others may stand inside of an answer.
    special = behind if vocabulary.decode(behind) == "" else []
    return tuple(dict.fromkeys((vocabulary.end_id, *special)))


def said(role: str, content: str) -> dict[str, str]:
    """A message."""
    return {"role": role, "content": content}


def _pairs(table: Table, expected: Columns) -> tuple[list[str], list[str]]:
    for name in (expected.prompt, expected.completion):
        if name not in table.names:
            others = "--prompt_column and --completion_column name others"
            raise ValueError(f"{table.lacking(name)} ({others})")
    return _texts(table, expected.prompt), _texts(table, expected.completion)


def _texts(table: Table, name: str) -> list[str]:
    values = columns.texts(table, name)
    for row, value in enumerate(values):
        if not value.strip():
            raise ValueError(f"{_at(table, name, row)} is empty; allowed are texts with a word")
    return values


def _chats(table: Table, name: str) -> list[list[dict[str, Any]]]:
    chats = []
    for row, value in enumerate(table.column(name)):
        messages, place = chat_of(value), _at(table, name, row)
        if messages is None:
            raise ValueError(
                f"{place} is {checks.shown(value)}; allowed are lists of messages, objects with "
                "role and content"
            )
        if messages[-1]["role"] != "assistant":
            raise ValueError(
                f"{place} ends with a message of {messages[-1]['role']!r}; allowed is the "
                "assistant's, which is what is learnt"
            )
        for message in messages:
            if not isinstance(content := message.get("content", ""), str):
                raise ValueError(
                    f"{place} has a message of {checks.shown(content)}; allowed are texts"
                )
        if not messages[-1].get("content", "").strip():
            raise ValueError(f"{place} ends with an empty answer; allowed are texts with a word")
        chats.append(messages)
    return chats


def chat_of(value: Any) -> list[dict[str, Any]] | None:
    """A cell as a chat, a list of messages with role and content; None where it is none.

    Example:
      >>> chat_of('[{"role": "user", "content": "Hi"}]')
      [{'role': 'user', 'content': 'Hi'}]
    """
    if isinstance(value, str):  # as a CSV file has them
        try:
            value = json.loads(value)
        except ValueError:
            return None
    if not (isinstance(value, list) and value and all(map(_message, value))):
        return None
    # Parquet has each key in every message.
    return [{k: v for k, v in one.items() if v is not None} for one in value]


def _message(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def _at(table: Table, name: str, row: int) -> str:
    origin, number = table.place(row)
    return f"column {name!r} of {origin} in row {number}"
