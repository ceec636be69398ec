"""Small made data: no text of a real data set is in the project."""

import json
import os
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors

SHARED = os.environ.get("RANKWISE_SHARED")
WORDS = ("a", "b", "c", "the", "cat", "sat", "mat", "on", "red", "big", "##s")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def shared(*parts: str) -> pathlib.Path:
    """A path below data/ in the folder with real data; skips the test where there is none."""
    if not SHARED:
        pytest.skip("RANKWISE_SHARED is not set to a folder with data/")
    path = pathlib.Path(SHARED, "data", *parts)
    if not path.exists():
        pytest.skip(f"RANKWISE_SHARED has no {'/'.join(('data', *parts))}")
    return path


def backend(max_length: int | None = 6) -> Backend:
    """BERT's layout on a vocabulary of 15, with truncation and padding like a published file."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    fast = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer()
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    if max_length:
        fast.enable_truncation(max_length)
        fast.enable_padding(length=max_length)
    return fast


def sentences(count: int, seed: int = 0, longest: int = 12) -> list[str]:
    """Random words, 1 to `longest` of them."""
    g = np.random.default_rng(seed)
    return [" ".join(g.choice(WORDS[:10], g.integers(1, longest + 1))) for _ in range(count)]


def write_parquet(path: pathlib.Path, columns: dict, label_names=None) -> pathlib.Path:
    """A parquet file, with the metadata that `datasets` writes if there are label names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if label_names:
        features = {"label": {"names": list(label_names), "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    pq.write_table(table, path)
    return path
