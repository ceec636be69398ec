"""The prompts of `launch.generate`, and the rows that its completions are written into."""

from __future__ import annotations

import pathlib
from typing import Any, NamedTuple

from finetune.tasks.files import columns, sources
from finetune.tasks.own_text import examples
from launch.generating.config import GenerateConfig

WRITTEN = ("sample", "completion", "tokens", "finish_reason")


class Prompts(NamedTuple):
    """n prompts, texts or chats, and what stands beside each."""

    prompts: list[Any]
    rows: list[dict[str, Any]]


def read(config: GenerateConfig) -> Prompts:
    """The prompts in their order.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a column that is not there, or in the way of what is written; a row without text.
    """
    if config.prompts is None:
        return Prompts([config.prompt], [{"prompt": config.prompt}])
    path = pathlib.Path(config.prompts)
    if path.suffix == ".txt":
        text = sources.read(path).column("text")[0]
        lines = [line for line in text.splitlines() if line.strip()]
        return Prompts(lines, [{"prompt": line} for line in lines])
    table = sources.read(path)
    chats = config.prompt_column not in table.names and config.messages_column in table.names
    column = config.messages_column if chats else config.prompt_column
    values = (
        [examples.chat_of(v) for v in table.column(column)]
        if chats
        else columns.texts(table, column)
    )
    if None in values:
        raise ValueError(
            f"column {column!r} of {table.origin} is no chat in row {values.index(None)}; allowed "
            "are lists of messages, objects with role and content"
        )
    for name in WRITTEN:
        if name in table.names:
            raise ValueError(
                f"column {name!r} of {table.origin} is in the way of what is written; allowed are "
                f"names other than {', '.join(WRITTEN)}"
            )
    each = [table.column(name) for name in table.names]
    rows = [dict(zip(table.names, row, strict=True)) for row in zip(*each, strict=True)]
    return Prompts(values, rows)
