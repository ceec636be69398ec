import json

import pytest

from finetune.tasks import sources
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
        ("a.csv", "a,a\n1,2\n", "column 'a' is twice in"),
        ("a.jsonl", '{"a": 1}\n[2]\n', r"line 2 of file .* is '\[2\]'; allowed is one JSON object"),
        ("a.jsonl", '{"a": \n', "line 1 of file .*; allowed is one JSON object"),
    ],
)
def test_refused_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        sources.read(path)
    assert "\n" not in str(error.value)


def test_missing_files_and_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b.csv' does not exist"):
        sources.read(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError, match="has no data; allowed are files named train, test"):
        sources.read_splits(tmp_path, ("train", "test"))
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"x": 1, "y": 2}))
    with pytest.raises(ValueError, match=r"column 'z' is not in .*; allowed are x, y"):
        sources.read(path).column("z")


def test_the_hub_through_datasets(tmp_path, monkeypatch):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    rows = {"text": ["a", "b"], "label": [1, 0]}
    found = {"train": datasets.Dataset.from_dict(rows, features=features)}
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: found)
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
