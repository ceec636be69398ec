import json
import re

import pyarrow as pa
import pytest

from finetune.tasks.files import sources
from tests.finetune.tasks import made


def test_csv_is_all_strings(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"one, ""two""\nthree",1\nNA,\n,0.5\n', encoding="utf-8")
    table = sources.read(path)
    assert table.names == ("text", "label")
    assert table.column("text") == ['one, "two"\nthree', "NA", ""]
    assert table.column("label") == ["1", "", "0.5"]


def test_jsonl_keeps_types_and_marks_what_is_missing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "é", "label": 1}\n\n{"text": "b"}\n', encoding="utf-8")
    table = sources.read(str(path))
    assert table.column("text") == ["é", "b"]
    assert table.column("label") == [1, None]


def test_parquet_gives_the_class_names(tmp_path):
    columns = {"text": ["a"], "label": [1]}
    path = made.write_parquet(tmp_path / "a.parquet", columns, ("no", "yes"))
    table = sources.read(path)
    assert table.column("label") == [1]
    assert table.label_names("label") == ("no", "yes")
    assert table.label_names("text") == ()


def test_splits_and_their_shards(tmp_path):
    for shard in (1, 0):
        name = f"train-0000{shard}-of-00002.parquet"
        made.write_parquet(tmp_path / name, {"text": [str(shard)], "label": [0]}, ("no", "yes"))
    (tmp_path / "test.csv").write_text("text\nx\n")
    tables = sources.read_splits(tmp_path, ("train", "validation", "test"))
    assert list(tables) == ["train", "test"]
    assert tables["train"].column("text") == ["0", "1"]
    assert tables["train"].label_names("label") == ("no", "yes")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "a\tb", r"allowed suffixes are .parquet, .csv, .jsonl"),
        ("a.parquet", "no", r"a.parquet' is not readable as .parquet \("),
        ("a.csv", "a,b\n1\n", r"a.csv' is not readable as .csv \(CSV parse error"),
        ("a.csv", "", r"a.csv' is not readable as .csv \(Empty CSV"),
        ("a.csv", "a,b\n1,2\n1\n", r"a.csv' is not .*Row #3: Expected 2 columns, got 1"),
        ("a.csv", b"\xff\xfea\x00\n\x00", "a.csv' is UTF-16; allowed are"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"line 2 of file .*xff.*; allowed .* in UTF-8"),
        ("a.csv", "a,a\n1,2\n", "column 'a' is twice in"),
        ("a.jsonl", '{"a": 1}\n[2]\n', r"line 2 of file .* is '\[2\]'; allowed is one JSON object"),
        ("a.jsonl", '{"a": \n', "line 1 of file .*; allowed is one JSON object"),
    ],
)
def test_refused_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        sources.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((0, 2), "is 2 shards with train-00001-of-00003{} missing; allowed are the 3 files from"),
        ((0, 1, 2, 3), "is 4 shards with train-00003-of-00003{} beside them; allowed are the 3"),
    ],
)
def test_every_shard_is_there(tmp_path, suffix, there, message):
    for shard in there:
        (tmp_path / f"train-0000{shard}-of-00003{suffix}").touch()
    with pytest.raises(ValueError, match=re.escape(message.format(suffix))):
        sources.split_files(tmp_path, "train")


def test_two_sets_of_shards_are_none(tmp_path):
    for name in ("train-00000-of-00001.csv", "train-00000-of-00002.csv"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"train-00000-of-00002\.csv beside them"):
        sources.split_files(tmp_path, "train")


def test_shards_agree_and_are_named(tmp_path):
    for shard, columns in enumerate(({"text": ["a", "b"]}, {"text": ["c"], "more": ["d"]})):
        made.write_parquet(tmp_path / f"train-0000{shard}-of-00002.parquet", columns)
    with pytest.raises(
        ValueError, match=r"column 'more' of .*train-00001.* is not that of .*00000"
    ):
        sources.read_splits(tmp_path, ("train",))
    made.write_parquet(tmp_path / "train-00001-of-00002.parquet", {"text": ["c"]})
    table = sources.read_splits(tmp_path, ("train",))["train"]
    assert table.place(2) == (str(tmp_path / "train-00001-of-00002.parquet"), 0)
    assert table.place(1) == (str(tmp_path / "train-00000-of-00002.parquet"), 1)


CUT = b"\xed\xa0\xbd"  # half of a surrogate pair as some programs write it, which is no UTF-8


def test_a_mark_of_utf8_is_no_part_of_the_first_name(tmp_path):
    for name, rest in (("a.csv", b"text,label\na,1\n"), ("a.jsonl", b'{"text": "a", "label": 1}')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + rest)
        assert sources.read(tmp_path / name).column("text") == ["a"]


def test_text_that_is_no_utf8_is_named_with_its_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"text,label\na,1\nb" + CUT + b",2\n")
    values = pa.StringArray.from_buffers(2, *pa.array([b"a", CUT]).buffers()[1:])
    for kind in (pa.string(), pa.large_string()):
        made.write_parquet(tmp_path / "a.parquet", {"text": values.cast(kind)})
        for name in ("a.csv", "a.parquet"):
            with pytest.raises(ValueError, match=r"'text' of .* is no UTF-8 in row 1; .* saved as"):
                sources.read(tmp_path / name).column("text")
    # Columns that nobody reads do not matter.
    assert sources.read(tmp_path / "a.csv").column("label") == ["1", "2"]


def test_missing_files_and_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b.csv' does not exist"):
        sources.read(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError, match="has no data; allowed are files named train, test"):
        sources.read_splits(tmp_path, ("train", "test"))
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"x": 1, "y": 2}))
    with pytest.raises(ValueError, match=r"column 'z' is not in .*; allowed are x, y"):
        sources.read(path).column("z")


@pytest.mark.parametrize(
    ("text", "encoding", "message"),
    [
        ("s, t\n1,2\n", "utf-8", "column 't' is not in .*; allowed are s, ' t'"),
        ("s;t\n1;2\n", "utf-8", "allowed are 's;t' alone: cells have to be separated by commas"),
        ("s,t\n1,2\n", "utf-16", "is UTF-16; allowed are files that are saved as UTF-8"),
    ],
)
def test_tables_of_other_programs_say_what_is_wrong(tmp_path, text, encoding, message):
    path = tmp_path / "a.csv"
    path.write_text(text, encoding=encoding)
    with pytest.raises(ValueError, match=message):
        sources.read(path).column("t")


def test_the_hub_through_datasets(tmp_path, monkeypatch):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"text": ["a", "b"], "label": [1, 0]}
    result = {"train": datasets.Dataset.from_dict(rows, features=features)}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: result)
    tables = sources.from_hub("some/where", "config", ("train", "validation"))
    assert list(tables) == ["train"]
    assert tables["train"].column("text") == ["a", "b"]
    assert tables["train"].label_names("label") == ("no", "yes")


def test_no_connection(monkeypatch):
    import datasets

    def fail(name, config):
        raise ConnectionError("offline\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(ConnectionError, match=r"could not be loaded from the Hub \(offline\)"):
        sources.from_hub("some/where", None, ("train",))
