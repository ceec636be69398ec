"""Files and the Hub, read to Arrow tables: where a column comes from is forgotten after here."""

from __future__ import annotations

import codecs
import collections
import glob
import json
import pathlib
import re
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from finetune.tasks.files.table import Table

SUFFIXES = (".parquet", ".csv", ".jsonl", ".txt")
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read(path: str | pathlib.Path) -> Table:
    """A table from one .parquet, .csv (all strings) or .jsonl (one object per line) file.

    A .txt file is one row, in the column "text".

    Raises:
      FileNotFoundError: no such file.
      ValueError: another suffix, or a file that cannot be parsed.
    """
    path = pathlib.Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"file is {str(path)!r}; allowed suffixes are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"file {str(path)!r} does not exist")
    if path.suffix != ".parquet" and _start(path).startswith(UTF_16):
        raise ValueError(f"file {str(path)!r} is UTF-16; allowed are files that are saved as UTF-8")
    try:
        if path.suffix == ".parquet":
            return from_arrow(str(path), pa.parquet.read_table(path, partitioning=None))
        if path.suffix == ".csv":
            return from_arrow(str(path), _csv(path))
        if path.suffix == ".txt":
            return Table(str(path), {"text": [path.read_text(encoding="utf-8")]}, {})
        return _jsonl(path)
    except (pa.ArrowInvalid, UnicodeDecodeError, json.JSONDecodeError) as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"file {str(path)!r} is not readable as {path.suffix} ({line})") from None


def _start(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2)


def split_files(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
    """The files of a split: split.suffix, or the shards split-00000-of-00003.suffix in order.

    Raises:
      ValueError: a shard that its brothers' names count is missing.
    """
    for suffix in SUFFIXES:
        whole = folder / f"{split}{suffix}"
        files = [whole] if whole.is_file() else _shards(folder, split, suffix)
        if files:
            return files
    return []


def _shards(folder: pathlib.Path, split: str, suffix: str) -> list[pathlib.Path]:
    pattern = re.compile(rf"{re.escape(split)}-(\d+)-of-(\d+){re.escape(suffix)}")
    names = sorted(path.name for path in folder.glob(f"{glob.escape(split)}-*-of-*{suffix}"))
    counts = [match[2] for match in map(pattern.fullmatch, names) if match]
    if not counts:
        return []
    of = counts[0]
    expected = [f"{split}-{number:0{len(of)}}-of-{of}{suffix}" for number in range(int(of))]
    missing = [name for name in expected if name not in names]
    unexpected = [name for name in names if name not in expected]
    if missing or unexpected:
        wrong = f"{', '.join(missing)} missing" if missing else f"{unexpected[0]} beside them"
        raise ValueError(
            f"split {split!r} of folder {str(folder)!r} is {len(names)} shards with {wrong}; "
            f"allowed are the {int(of)} files from {expected[0]} to {expected[-1]}"
        )
    return [folder / name for name in expected]


def read_splits(folder: pathlib.Path, splits: Iterable[str]) -> dict[str, Table]:
    """The splits among `splits` that a folder has.

    Raises:
      FileNotFoundError: it has none of them.
      ValueError: a file that cannot be read.
    """
    splits = tuple(splits)
    tables = {}
    for split in splits:
        files = split_files(folder, split)
        if files:
            tables[split] = _joined([read(file) for file in files])
    if not tables:
        allowed = ", ".join(splits)
        raise FileNotFoundError(
            f"folder {str(folder)!r} has no data; allowed are files named {allowed} "
            f"with suffix {', '.join(SUFFIXES)}"
        )
    return tables


def of_task(
    name: str,
    repository: str,
    config: str | None,
    splits: Iterable[str],
    data_dir: str | pathlib.Path | None,
) -> dict[str, Table]:
    """The splits of a published task: of data_dir/name, else data_dir itself; None is the Hub.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: as `read_splits` and `from_hub`.
    """
    if data_dir is None:
        return from_hub(repository, config, splits)
    inner = pathlib.Path(data_dir) / name
    return read_splits(inner if inner.is_dir() else inner.parent, splits)


def from_hub(repository: str, config: str | None, splits: Iterable[str]) -> dict[str, Table]:
    """The splits among `splits` of a data set on the Hub, from the local cache when it is there.

    Raises:
      ConnectionError: neither the Hub nor the cache has it.
    """
    import datasets

    try:
        dataset = datasets.load_dataset(repository, config)
    except (OSError, ValueError) as error:
        line = str(error).splitlines()[0]
        raise ConnectionError(
            f"data_dir is not given and {repository!r} could not be loaded from the Hub ({line}); "
            "allowed is a folder with the files, or a connection"
        ) from None
    return {
        split: from_arrow(f"{repository}/{config or ''}/{split}", dataset[split].data.table)
        for split in splits
        if split in dataset
    }


def from_arrow(origin: str, table: pa.Table) -> Table:
    """An Arrow table with the class names in its Hugging Face metadata."""
    repeated = [
        name for name, count in collections.Counter(table.column_names).items() if count > 1
    ]
    if repeated:
        raise ValueError(f"column {repeated[0]!r} is twice in {origin}; allowed is once")
    return Table(origin, dict(zip(table.column_names, table.columns, strict=True)), _names(table))


def _names(table: pa.Table) -> dict[str, tuple[str, ...]]:
    text = (table.schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(text).get("info", {}).get("features", {})
    return {
        name: tuple(feature["names"])
        for name, feature in features.items()
        if isinstance(feature, dict) and "names" in feature
    }


def _csv(path: pathlib.Path) -> pa.Table:
    # Everything as strings: the types that Arrow infers turn the sentence "NA" into a null.
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    with pa.csv.open_csv(path, parse_options=parse) as reader:
        names = reader.schema.names
    # UTF-8 is checked by `Table.column`, which knows the row.
    convert = pa.csv.ConvertOptions(
        column_types={name: pa.string() for name in names},
        strings_can_be_null=False,
        check_utf8=False,
    )
    options = {"parse_options": parse, "convert_options": convert}
    try:
        return pa.csv.read_csv(path, **options)
    except pa.ArrowInvalid:
        # One thread counts the lines, and names the one that is wrong.
        return pa.csv.read_csv(path, pa.csv.ReadOptions(use_threads=False), **options)


def _jsonl(path: pathlib.Path) -> Table:
    rows = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                # The mark of UTF-8 that some editors put before the first line is no part of it.
                row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise ValueError(
                    f"line {number} of file {str(path)!r} is {_shown(line)}; "
                    "allowed is one JSON object per line, in UTF-8"
                )
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, {})


def _joined(tables: list[Table]) -> Table:
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    columns = {name: [v for t in tables for v in t.column(name)] for name in first.names}
    label_names = {name: first.label_names(name) for name in first.names}
    for table in tables:
        for name in table.names:
            if name not in first.names or table.label_names(name) != label_names[name]:
                raise ValueError(
                    f"column {name!r} of {table.origin} is not that of {first.origin}; "
                    "allowed are shards with the same columns and class names"
                )
    parts = tuple((table.origin, len(table.column(first.names[0]))) for table in tables)
    return Table(f"{first.origin} and {len(tables) - 1} more", columns, label_names, parts)


def _shown(line: bytes) -> str:
    return repr(line.decode("utf-8", "backslashreplace").strip()[:40])
