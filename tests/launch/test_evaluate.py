"""The command: a saved adapter scores what training said, from its own file and from PEFT's."""

import csv
import json

import pytest
from safetensors.numpy import load_file, save_file

from finetune.models.bert import BertConfig
from finetune.weights import saving
from launch.training.config import TrainConfig
from launch.training.problem_config import of_run
from tests.finetune.models.tiny import BERT, random_model
from tests.launch.commands import command
from tests.launch.texts import made

SMALL = ["--hidden_size=16", "--steps=10", "--rank=2"]


def evaluate(*flags):
    return command("evaluate", *flags)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    assert command("train", "--method=lora", *SMALL, f"--workdir={folder}") == 0
    return folder


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    flags = [*made(folder, layers=1), "--method=adapad", "--rank=2", "--steps=8", "--batch_size=4"]
    assert command("train", *flags, "--learning_rate=0.1", f"--workdir={folder}/run") == 0
    return folder


def test_a_run_scores_as_it_did(digits, tmp_path, capsys):
    path, rows = tmp_path / "scores.json", tmp_path / "predictions.csv"
    flags = [f"--workdir={digits}", f"--json={path}", f"--predictions={rows}"]
    assert evaluate(*flags) == 0
    result, outcome = json.loads((digits / "result.json").read_text()), json.loads(path.read_text())
    assert outcome["scores"]["accuracy"] == pytest.approx(result["score"], abs=1e-12)
    assert outcome["majority"]["accuracy"] == result["majority"] and outcome["split"] == "test"
    with rows.open() as file:
        table = list(csv.DictReader(file))
    right = sum(row["prediction"] == row["label"] for row in table)
    assert right / len(table) == pytest.approx(result["score"])
    assert "majority" in capsys.readouterr().out


def test_another_split(digits, capsys):
    assert evaluate(f"--workdir={digits}", "--split=train", "--eval_batch_size=200") == 0
    assert "1438 rows of train" in capsys.readouterr().out


# That its scores are those of the run test_class_names.py and test_squad_spans.py hold.
@pytest.mark.thorough
def test_the_same_adapter_in_the_format_of_peft(text, tmp_path):
    one, two, folder = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "peft"
    assert command("export", f"--workdir={text}/run", f"--output={folder}") == 0
    logits = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    assert evaluate(f"--workdir={text}/run", f"--json={one}", f"--predictions={logits[0]}") == 0
    flags = [
        f"--adapter={folder}",
        *made(text, layers=1),
        f"--json={two}",
        f"--predictions={logits[1]}",
    ]
    assert evaluate(*flags) == 0
    assert one.read_text() == two.read_text()
    assert logits[0].read_text() == logits[1].read_text()


@pytest.mark.thorough  # new rows of own text are a default test
def test_data_that_are_given_are_taken_whole(text, tmp_path, capsys):
    moved, rows = tmp_path / "moved.csv", tmp_path / "rows.csv"
    moved.write_bytes((text / "data.csv").read_bytes())
    flags = [f"--workdir={text}/run", f"--data_dir={moved}", f"--predictions={rows}"]
    assert evaluate(*flags) == 0
    assert "12 rows of train" in capsys.readouterr().out
    lines = rows.read_text().splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [str(row) for row in range(12)]
    assert [line.split(",")[2] for line in lines] == ["a", "b"] * 6
    # What is given beside them holds, and rows keep their numbers.
    assert evaluate(*flags, "--heldout=0.5") == 0
    assert "6 rows of heldout" in capsys.readouterr().out
    numbers = [int(line.split(",")[0]) for line in rows.read_text().splitlines()[1:]]
    kept = {line.split(",")[0]: line.split(",")[1:] for line in lines}
    assert numbers == sorted(numbers) != list(range(6)) and len(kept) == 12


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.thorough), "heldout"])
def test_rows_that_changed_since(text, tmp_path, capsys, split):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "adapter.safetensors"):
        (run / name).write_bytes((text / "run" / name).read_bytes())
    config = json.loads((run / "config.json").read_text())
    changed = tmp_path / "data.csv"
    swapped = str.maketrans({"a": "b", "b": "a"})
    lines = [line.rsplit(",", 1) for line in (text / "data.csv").read_text().splitlines()]
    changed.write_text(
        "".join(
            f"{words},{label.translate(swapped) if row else label}\n"
            for row, (words, label) in enumerate(lines)
        )
    )
    (run / "config.json").write_text(json.dumps({**config, "data_dir": str(changed)}))
    assert evaluate(f"--workdir={text}/run", f"--split={split}") == 0
    assert "other rows" not in capsys.readouterr().out
    assert evaluate(f"--workdir={run}", f"--split={split}") == 0
    said = f"of {split} of table: {split} has other rows, labels or tokens than the run had"
    assert said in capsys.readouterr().out


def test_hidden_labels_are_predicted(text, tmp_path, capsys):
    (tmp_path / "train.csv").write_bytes((text / "data.csv").read_bytes())
    (tmp_path / "test.csv").write_text("text,label\nthe cat,-1\na mat,-1\n")
    flags = [f"--workdir={text}/run", f"--data_dir={tmp_path}", "--split=test"]
    assert evaluate(*flags) == 2
    assert "has no labels: it can be predicted and not scored" in capsys.readouterr().err
    assert evaluate(*flags, f"--predictions={tmp_path}/rows.csv") == 0
    assert (tmp_path / "rows.csv").read_text().startswith("index,prediction\n0,")
    assert "2 rows of test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ([], "one of --workdir and --adapter is needed"),
        (["--workdir=a", "--adapter=b"], "one of --workdir and --adapter is needed"),
        (["--workdir=/absent"], "config.json cannot be read"),
        (["--workdir=RUN", "--split=dev"], "split is 'dev'; allowed are"),
        (["--workdir=RUN", "--submission=x"], "task is 'digits'; allowed are"),
        (["--workdir=RUN", "--predictions=/absent/x.csv"], "there is no folder"),
        (["--workdir=RUN", "--model=/absent/model"], "/absent/model"),
        (["--workdir=RUN", "--classes=first"], "--classes is 'first'; allowed is 'all', as in"),
        (["--workdir=RUN", "--eval_rows=400"], "eval_rows is 400; allowed are integers from 1 to"),
        (["--workdir=RUN", "--heldout=0.2"], "heldout is 0.2; allowed with task 'digits' is 0.0"),
    ],
)
def test_mistakes_are_one_line(digits, flags, word, capsys):
    assert evaluate(*(flag.replace("RUN", str(digits)) for flag in flags)) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1


def test_some_of_the_rows(digits, tmp_path, capsys):
    some, all_of_them = tmp_path / "some.csv", tmp_path / "all.csv"
    assert evaluate(f"--workdir={digits}", f"--predictions={all_of_them}") == 0
    assert evaluate(f"--workdir={digits}", "--eval_rows=9", f"--predictions={some}") == 0
    assert "9 rows of test" in capsys.readouterr().out
    rows = some.read_text().splitlines()[1:]
    assert len(rows) == 9 and set(rows) < set(all_of_them.read_text().splitlines())


def test_another_base_model_is_refused(digits, tmp_path, capsys):
    config = json.loads((digits / "config.json").read_text())
    for name in ("renew_every", "likelihood", "eval_rows"):
        del config[name]  # as in runs of earlier versions
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert of_run(tmp_path / "config.json", TrainConfig).renew_every is None
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_seed": 1}))
    (tmp_path / "adapter.safetensors").write_bytes((digits / "adapter.safetensors").read_bytes())
    assert evaluate(f"--workdir={tmp_path}") == 2
    assert "is another base model" in capsys.readouterr().err


def without_a_head(folder, capsys):
    """The flags that score an adapter in the format of PEFT that brings no classifier."""
    flags = [*made(folder, layers=1), "--method=lora", "--rank=2", "--steps=1", "--batch_size=4"]
    base = load_file(folder / "base" / "model.safetensors")
    kept = {name: leaf for name, leaf in base.items() if not name.startswith("classifier")}
    save_file(kept, folder / "base" / "model.safetensors", metadata={"format": "pt"})
    assert command("train", *flags, f"--workdir={folder}/run") == 0
    assert (
        "Drawn at random, not read: classifier.bias, classifier.weight" in capsys.readouterr().out
    )
    assert command("export", f"--workdir={folder}/run", f"--output={folder}/peft") == 0
    place = folder / "peft" / "adapter_config.json"
    raw = {**json.loads(place.read_text()), "modules_to_save": None, "task_type": None}
    place.write_text(json.dumps(raw))
    tensors = load_file(folder / "peft" / "adapter_model.safetensors")
    kept = {name: leaf for name, leaf in tensors.items() if "classifier" not in name}
    save_file(kept, folder / "peft" / "adapter_model.safetensors")
    return [f"--adapter={folder}/peft", *flags[:-4]]


def test_what_is_drawn_is_named_and_not_scored(tmp_path, capsys):
    flags = without_a_head(tmp_path, capsys)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["drawn"] == ["classifier.bias", "classifier.weight"]
    capsys.readouterr()
    assert evaluate(*flags) == 2
    err = capsys.readouterr().err
    assert "classifier.bias, classifier.weight: drawn at random" in err and err.count("\n") == 1
    assert evaluate(*flags, "--allow_drawn") == 0


def of_three_labels(folder):
    """Flags of a run of two labels on a network with a head of three."""
    flags = [*made(folder, layers=1), "--method=lora", "--rank=1", "--steps=1", "--batch_size=4"]
    saving.save(folder / "base", random_model(BertConfig(num_labels=3, **BERT)))
    return flags


def test_a_head_of_other_labels_is_refused(tmp_path, capsys):
    assert command("train", *of_three_labels(tmp_path)) == 2
    err = capsys.readouterr().err
    assert "--head=new" in err and err.count("\n") == 1


@pytest.mark.thorough  # a new head is trained in test_predict.py
@pytest.mark.parametrize("head", ["new", "frozen_random"])
def test_a_new_head_for_other_labels(head, tmp_path):
    flags = of_three_labels(tmp_path)
    assert command("train", *flags, f"--head={head}", f"--workdir={tmp_path}/run") == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["head_parameters"] > 0) == (head == "new")
    assert evaluate(f"--workdir={tmp_path}/run") == 0
