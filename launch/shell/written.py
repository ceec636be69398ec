"""Files that a command writes: refused at once where they cannot be, or are what it reads."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any

from rankwise.files import require_writable
from rankwise.folders import require_new

# In a folder that is read: rows, and the files of runs, adapters and models.
READ = re.compile(
    r"(train|dev|valid|heldout|test).*|.*\.(safetensors|gguf|parquet|npz|npy)"
    r"|(config|result|adapter_config|tokenizer.*|vocab|special_tokens_map)\.json|metrics\.jsonl"
)


def require(config: Any) -> None:
    """Of a configuration, the options that are `written`.

    Raises:
      ValueError: one names a file that another option reads, or a new folder that is there.
      OSError: as `require_writable`.
    """
    fields = dataclasses.fields(config)
    read = [f.name for f in fields if f.metadata.get("path") and not f.metadata.get("written")]
    kinds = {f.name: f.metadata["written"] for f in fields if f.metadata.get("written")}
    for name, kind in kinds.items():
        value = getattr(config, name)
        if value is None:
            continue
        if kind == "new":
            require_new(value)
            continue
        for other in read:
            for source in _paths(getattr(config, other)):
                if _is_read(pathlib.Path(value), source):
                    raise ValueError(
                        f"--{name}={value} would replace what --{other} reads; give another file"
                    )
        require_writable(value)


def _paths(value: Any) -> Iterator[pathlib.Path]:
    for text in value if isinstance(value, tuple) else (value,):
        if text is not None:
            whole, of_key = pathlib.Path(text), pathlib.Path(str(text).rpartition(":")[0] or text)
            yield of_key if of_key.is_file() else whole  # FILE:KEY


def _is_read(target: pathlib.Path, source: pathlib.Path) -> bool:
    if not target.is_file():
        return False
    if source.is_dir():
        return target.resolve().parent == source.resolve() and bool(READ.fullmatch(target.name))
    return source.exists() and target.samefile(source)
