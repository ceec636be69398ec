"""Plain text for a causal language model: documents one after the other, cut into blocks."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from finetune.tasks import subsets, tables
from finetune.tasks.files import columns
from finetune.tasks.files.table import Table
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text.likelihood import Likelihood
from finetune.tasks.splits import Split
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.ragged import Ragged
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks

TEXT = "text"


def load(
    data: str | pathlib.Path | Mapping[str, str | pathlib.Path],
    tokenizer: Tokenizer,
    kind: str,
    column: str = TEXT,
    *,
    heldout: float = 0.0,
    max_length: int = 128,
    window: int = 1,
) -> LanguageTask:
    """The task whose loss is -sum_t log p(token t | those before it in its block).

    Each document ends with the token that ends a text. Together they are cut into blocks of
    max_length tokens, whatever document they are of, so that no batch has padding; the last block
    may be shorter. Scored by `Likelihood`, without exact matches.

    Args:
      data: split name -> file, or one file (train), or a folder with train, validation and test
        files; .jsonl, .csv or .parquet with a column of texts, or .txt, a document each.
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal".
      column: name of the column.
      heldout: share of the documents of the training split that becomes the split "heldout", always
        the same ones; of a single document, of its blocks.
      max_length: tokens of a block.
      window: batches sorted by length together, see `batches.shuffled`.

    Raises:
      FileNotFoundError: a file or a split that does not exist.
      ValueError: a column that is not there, a text that is none, a split of less than two tokens,
        a model of another kind.

    Example:
      load("book.txt", load_tokenizer("models/llama"), "causal", heldout=0.1, max_length=512)
    """
    vocabulary = vocabulary_of(tokenizer)
    if kind != "causal":
        raise ValueError(f"kind is {kind!r}; allowed with plain text is 'causal', as Llama's")
    checks.integer("max_length", max_length, 8)
    splits = {}
    for split, table in tables.read(data).items():
        plain = vocabulary.plain(columns.texts(table, _column(table, column)))
        rows = [[*vocabulary.before, *row, vocabulary.end_id] for row in plain if row]
        if sum(map(len, rows)) < 2:
            raise ValueError(f"{table.origin} has no text; allowed are two tokens or more")
        documents = Split({"rows": Ragged.from_rows(rows)}, None)
        alone = len(rows) == 1 or split != "train"
        parts = {split: documents} if alone else subsets.with_share({split: documents}, heldout)
        blocks = {name: _packed(part.inputs["rows"], max_length) for name, part in parts.items()}
        splits |= subsets.with_share(blocks, heldout) if alone and split == "train" else blocks
    return LanguageTask(
        name="text",
        splits=splits,
        kind=kind,
        reading=Likelihood(matched=False),
        pad_id=tokenizer.pad_id,
        lengths=(1,),
        target_lengths=(max_length - 1,),
        window=window,
    )


def _packed(rows: Ragged, length: int) -> Split:
    """Blocks of `length` tokens, the first of which is given."""
    stream = rows.values.tolist()
    blocks = [stream[i : i + length] for i in range(0, len(stream), length)]
    # A single token has nothing before it.
    blocks = [block for block in blocks if len(block) > 1]
    target = Ragged.from_rows(block[1:] for block in blocks)
    source = Ragged.from_rows(block[:1] for block in blocks)
    return Split({"source": source, "target": target}, target, np.arange(len(blocks)))


def _column(table: Table, name: str) -> str:
    # Of a file that is nothing but text.
    return TEXT if table.names == (TEXT,) else name
