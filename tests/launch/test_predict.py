"""A user's own table with what a run predicts beside it."""

import csv
import json

import numpy as np
import pytest

from tests.finetune.tasks.made import sentences, write_parquet
from tests.launch.commands import command
from tests.launch.texts import ROWS, made

SMALL = ["--method=lora", "--rank=2", "--steps=2", "--batch_size=4"]
TEXTS = sentences(ROWS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of classes, a and b, and one of numbers."""
    folder = tmp_path_factory.mktemp("predict")
    flags = made(folder, layers=1)
    assert command("train", *flags, *SMALL, f"--workdir={folder}/classes") == 0
    numbers = [{"text": text, "score": n / 4} for n, text in enumerate(TEXTS)]
    (folder / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbers))
    flags = [flag for flag in flags if "data_dir" not in flag]
    given = [f"--data={folder}/numbers.jsonl", "--label=score", "--regression", "--head=new"]
    assert command("train", *flags, *given, *SMALL, f"--workdir={folder}/numbers") == 0
    return folder


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict(runs, kind, data, output):
    given = [f"--workdir={runs}/{kind}", f"--data={data}", f"--output={output}"]
    return command("predict", *given, "--eval_batch_size=5")


def test_rows_keep_their_columns_and_order(runs, tmp_path):
    rows = [["id", "text", "label", "remark"]]
    # Labels are not read: unknown ones, some and none are all the same.
    rows += [[n, text, ["", "c", "a"][n % 3], f"a, \n{n}"] for n, text in enumerate(TEXTS)]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert predict(runs, "classes", tmp_path / "new.csv", tmp_path / "out.csv") == 0
    result = table(tmp_path / "out.csv")
    assert list(result[0]) == [*rows[0], "prediction", "prob_a", "prob_b"]
    kept = [[row[name] for name in rows[0]] for row in result]
    assert kept == [[str(value) for value in row] for row in rows[1:]]
    shares = [{name: float(row[f"prob_{name}"]) for name in "ab"} for row in result]
    assert [max(share, key=share.get) for share in shares] == [row["prediction"] for row in result]
    assert np.allclose([sum(share.values()) for share in shares], 1)
    # The numbers of evaluate.
    (tmp_path / "other.csv").write_text("text\n" + "".join(f"{text}\n" for text in TEXTS))
    given = [f"--workdir={runs}/classes", f"--data={tmp_path}/other.csv", "--probabilities"]
    assert command("evaluate", *given, f"--predictions={tmp_path}/theirs.csv") == 0
    for ours, reference in zip(result, table(tmp_path / "theirs.csv"), strict=True):
        assert float(ours["prob_a"]) == pytest.approx(float(reference["prob_a"]), rel=1e-5)


def test_numbers_and_values_of_any_type(runs, tmp_path):
    columns = {"text": TEXTS, "tags": [["x", "y"]] * ROWS, "n": [None, *range(1, ROWS)]}
    write_parquet(tmp_path / "new.parquet", columns)
    assert predict(runs, "numbers", tmp_path / "new.parquet", tmp_path / "out.jsonl") == 0
    assert predict(runs, "numbers", tmp_path / "new.parquet", tmp_path / "out.csv") == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    assert lines[1]["tags"] == ["x", "y"] and lines[0]["n"] is None and lines[1]["n"] == 1
    cells = table(tmp_path / "out.csv")
    assert cells[0]["tags"] == '["x", "y"]' and cells[0]["n"] == ""
    assert [float(row["prediction"]) for row in cells] == [row["prediction"] for row in lines]
    assert len({row["prediction"] for row in lines}) > 1


def test_mistakes_are_one_line(runs, tmp_path, capsys):
    new = tmp_path / "new.csv"
    out = tmp_path / "out.csv"

    def refused(word, content="text\na b\n", kind="classes", output=out):
        new.write_text(content)
        capsys.readouterr()
        assert predict(runs, kind, new, output) == 2
        err = capsys.readouterr().err
        assert word in err and err.count("\n") == 1
        assert not out.exists() and new.read_text() == content

    refused("column 'text' is not in", "words\na\n")
    refused("column 'prob_a' of", "text,prob_a\na,1\n")
    refused("would replace what --data reads; give another file", output=new)
    refused("allowed suffixes are .csv, .jsonl", output=tmp_path / "out.txt")
    refused("config.json", kind="missing")
    config = json.loads((runs / "classes/config.json").read_text())
    for task, word in (("digits", "allowed are runs on texts"), ("gsm8k", "launch.generate")):
        folder = runs / task
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({**config, "task": task}))
        (folder / "adapter.safetensors").write_bytes(
            (runs / "classes/adapter.safetensors").read_bytes()
        )
        refused(word, kind=task)
    assert command("predict", f"--data={new}") == 2
    assert "--workdir is needed" in capsys.readouterr().err


@pytest.mark.thorough  # columns are kept above
def test_a_run_on_glue_predicts_a_table_with_its_columns(runs, tmp_path):
    columns = {"sentence": TEXTS}
    for split in ("train", "validation"):
        labels = {"label": [n % 2 for n in range(ROWS)]}
        write_parquet(tmp_path / f"sst2/{split}.parquet", columns | labels)
    flags = ["--task=sst2", f"--data_dir={tmp_path}", f"--model={runs}/base", "--max_length=8"]
    run = tmp_path / "run"
    assert command("train", *flags, *SMALL, f"--workdir={run}") == 0
    (tmp_path / "new.csv").write_text("sentence\na b\nc d\n")
    given = [f"--workdir={run}", f"--data={tmp_path}/new.csv", f"--output={tmp_path}/out.csv"]
    assert command("predict", *given) == 0
    assert {row["prediction"] for row in table(tmp_path / "out.csv")} <= {"negative", "positive"}
