"""The command: a grid of runs, its table, and what a second call does not repeat."""

import contextlib
import csv
import io
import json
import pathlib

import numpy as np
import pytest

from finetune.methods import NAMES
from finetune.tasks import load
from finetune.tasks.subsets import held_out
from launch.comparing import cells, grid, presets
from launch.comparing import table as comparison
from launch.training.config import TrainConfig
from tests.launch.commands import command

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"


def recipes_in(folder):
    """The flags of a comparison in the folder."""
    (folder / "easy.flags").write_text("# a task\n--task=digits\n--hidden_size=16\n--steps=6\n")
    (folder / "thin.flags").write_text("--method=lora\n--rank=1\n")
    (folder / "wide.flags").write_text("--method=lora\n--rank=2\n")
    methods = f"{folder}/thin.flags,{folder}/wide.flags"
    return [f"--tasks={folder}/easy.flags", f"--methods={methods}", f"--workdir={folder}/out"]


@pytest.fixture
def recipes(tmp_path):
    return recipes_in(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a comparison of four steps and what it printed, which tests leave finished."""
    folder, shown = tmp_path_factory.mktemp("finished"), io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert command("compare", *recipes_in(folder), "--seeds=0,1", "--steps=4") == 0
    return folder, shown.getvalue()


def test_a_grid(finished, tmp_path):
    folder, out = finished
    records = json.loads((folder / "out" / "compare.json").read_text())
    assert [(r["recipe"], r["seed"], r["steps"]) for r in records] == [
        ("thin", 0, 4),
        ("thin", 1, 4),
        ("wide", 0, 4),
        ("wide", 1, 4),
    ]
    assert "thin" in out and "majority" in out
    lines = (folder / "out" / "compare.md").read_text().splitlines()
    assert lines[0].startswith("| task | method | metric |") and lines[5].startswith("score: mean")
    made = list(csv.DictReader((folder / "out" / "compare.csv").read_text().splitlines()))
    assert [row["method"] for row in made] == ["thin", "wide"] and float(made[0]["MiB"]) > 0
    assert (folder / "out" / "compare.png").stat().st_size > 0
    # The second seed shares compiled programs with the first, and gives what it gives alone.
    alone = ["--task=digits", "--hidden_size=16", "--method=lora", "--rank=2"]
    assert command("train", *alone, "--seed=1", "--steps=4", f"--workdir={tmp_path}/alone") == 0
    adapter = (tmp_path / "alone" / "adapter.safetensors").read_bytes()
    assert (folder / "out/easy.wide.1/adapter.safetensors").read_bytes() == adapter


def test_what_is_finished_is_not_repeated(finished, capsys):
    folder, _ = finished
    recipes = recipes_in(folder)
    done = folder / "out/easy.thin.0/result.json"
    before = done.stat().st_mtime_ns
    (folder / "out/easy.wide.0/result.json").unlink()
    assert command("compare", *recipes, "--steps=4") == 0
    assert done.stat().st_mtime_ns == before
    assert (folder / "out/easy.wide.0/result.json").exists()
    capsys.readouterr()
    assert command("compare", *recipes, "--steps=3") == 2
    assert "holds a run with --steps=4, not 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--seeds="], "--seeds is empty"),
        (["--methods=/absent.flags"], "has '/absent.flags'; allowed is a file of flags, full,"),
        (["--tasks=/absent.flags"], "--tasks has '/absent.flags'; allowed is a file of flags\n"),
        (["--methods=lora,dora,lora"], "--methods names 'lora' more than once"),
        (["--learning_rates=1e-3,.001"], "--learning_rates names 0.001 more than once"),
        (["--budget=0"], "budget is 0; allowed are integers >= 1"),
        (["--learning_rates=1e-3,x"], "--learning_rates has 'x'; allowed are numbers"),
        (["--order=1"], "with OUT/thin.flags: order is 1.0, which method 'lora' does not have"),
        (["--seeds=x"], "--seeds has 'x'; allowed are numbers"),
        (["--method=lora"], "--method=lora has no effect beside --methods; allowed is --methods"),
        (["--task=digits"], "--task=digits has no effect beside --tasks"),
        (["--seed=3"], "--seed=3 has no effect beside --seeds"),
        (["--learning_rates=1e-3", "--learning_rate=1e-2"], "has no effect beside --learning_rat"),
        (["--search_on=evaluation"], "has no effect with 0 --learning_rates; allowed are two or"),
        (["--rank=2", "--budget=4"], "--rank=2 and --budget=4 both say the rank; give one"),
    ],
)
def test_mistakes_are_known_before_the_first_run(recipes, tmp_path, flags, word, capsys):
    assert command("compare", *recipes, *flags) == 2
    err = capsys.readouterr().err
    assert word.replace("OUT", str(tmp_path)) in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_runs_on_other_rows_are_not_compared(finished, capsys):
    folder, _ = finished
    recipes = recipes_in(folder)
    path = folder / "out/easy.wide.0/result.json"
    text = path.read_text()
    record = json.loads(text)
    path.write_text(json.dumps({**record, "data": {**record["data"], "train": "others"}}))
    capsys.readouterr()
    assert command("compare", *recipes, "--steps=4") == 2
    assert "were trained or scored on other rows of the same files" in capsys.readouterr().err
    del record["data"]  # as earlier versions wrote it
    path.write_text(json.dumps(record))
    assert command("compare", *recipes, "--steps=4") == 0
    path.write_text(text)


@pytest.mark.thorough  # chosen and held out below
def test_rates_are_chosen_on_rows_that_are_held_out(recipes, tmp_path):
    rates = ["--learning_rates=1e-6,3e-2,1e30", f"--methods={tmp_path}/thin.flags"]
    assert command("compare", *recipes, *rates, "--seeds=0,1", "--optimiser=sgd", "--clip=0") == 0
    records = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [r["seed"] for r in records] == [0, 1]
    tried = json.loads((tmp_path / "out/easy.thin.search.1e+30/result.json").read_text())
    assert tried["score"] is None and "in step" in tried["diverged"]
    result = {
        rate: json.loads((tmp_path / f"out/easy.thin.search.{rate}/result.json").read_text())
        for rate in ("1e-06", "0.03")
    }
    assert {one["split"] for one in result.values()} == {"heldout"}
    best = max(result, key=lambda rate: result[rate]["score"])
    assert records[0]["rate"] == float(best) and records[0]["split"] == "test"


def test_rates_chosen_on_the_reported_rows_cost_no_further_run(recipes, tmp_path):
    flags = ["--learning_rates=1e-3,1e-2", "--search_on=evaluation", "--steps=4"]
    flags += [f"--methods={tmp_path}/thin.flags"]
    assert command("compare", *recipes, *flags) == 0
    names = sorted(path.name for path in (tmp_path / "out").glob("easy.thin.*"))
    assert names == ["easy.thin.0.0.001", "easy.thin.0.0.01"]


def test_the_search_halves_its_rates_as_its_runs_double(recipes, tmp_path, capsys):
    flags = ["--learning_rates=1e-4,1e-3,3e-2", "--halvings=2", "--steps=8", "--evaluate_every=2"]
    flags += [f"--methods={tmp_path}/thin.flags"]
    assert command("compare", *recipes, *flags) == 0
    assert "runs: 6/6" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "out").glob("easy.thin.*"))
    first = [f"easy.thin.search.{rate}.4" for rate in ("0.0001", "0.001", "0.03")]
    assert [name for name in names if name.endswith(".4")] == first
    read = {n: json.loads((tmp_path / f"out/{n}/result.json").read_text()) for n in names}
    assert {n: r["steps"] for n, r in read.items() if n in first} == dict.fromkeys(first, 2)
    left = sorted(first, key=lambda name: (-read[name]["score"], first.index(name)))[:2]
    second = [name[:-2] + ".2" for name in left]
    assert sorted(name for name in names if name.endswith(".2")) == sorted(second)
    assert all(read[name]["steps"] == 4 for name in second)
    # One rate is left: no whole run has to choose.
    (final,) = set(names) - set(first) - set(second)
    best = min(second, key=lambda name: (-read[name]["score"], second.index(name)))
    assert final == "easy.thin.0." + best.removeprefix("easy.thin.search.")[:-2]
    record = json.loads((tmp_path / "out/compare.json").read_text())[0]
    assert [step for step, _ in record["curve"]] == [2, 4, 6, 8]
    assert (tmp_path / "out" / "curves.png").stat().st_size > 0
    # The same command reads them all.
    before = (tmp_path / "out" / final / "result.json").stat().st_mtime_ns
    assert command("compare", *recipes, *flags) == 0
    assert (tmp_path / "out" / final / "result.json").stat().st_mtime_ns == before


def test_halves_of_epochs():
    config = TrainConfig(task="digits", epochs=3.0)
    assert grid._shortened(config, 4).epochs == 0.75
    assert grid._shortened(TrainConfig(task="digits"), 4).epochs == 2.5


@pytest.mark.thorough  # budgets of methods are tested with them
def test_every_method_spends_the_budget(tmp_path, capsys):
    (tmp_path / "easy.flags").write_text("--task=digits\n--hidden_size=16\n--steps=2\n")
    common = [f"--tasks={tmp_path}/easy.flags", f"--workdir={tmp_path}/out"]
    assert command("compare", *common, "--methods=lora,adapad,untouched", "--budget=4") == 0
    records = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [sum(r["ranks"].values()) for r in records[:1]] == [4]
    settings = json.loads((tmp_path / "out/easy.adapad.0/config.json").read_text())
    assert settings["method_options"]["budget"] == 4
    assert records[2]["trainable_parameters"] == records[2]["head_parameters"] == 0
    capsys.readouterr()
    assert command("compare", *common, "--methods=lora", "--budget=5") == 2
    assert "budget is 5; allowed are multiples of 2" in capsys.readouterr().err


def test_a_preset_prints_published_numbers_beside_ours(tmp_path, capsys):
    (tmp_path / "easy.flags").write_text("--task=digits\n--hidden_size=16\n--steps=2\n")
    preset = {
        "title": "Made up",
        "tasks": ["easy.flags"],
        "methods": ["head", "lora"],
        "published": {"lora": {"easy": 97.5, "hard": 60}},
        "differences": ["other digits"],
        "budget": 4,
    }
    (tmp_path / "made.json").write_text(json.dumps(preset))
    flags = [f"--preset={tmp_path}/made.json", f"--workdir={tmp_path}/out"]
    assert command("compare", *flags) == 0
    out = capsys.readouterr().out
    assert "Made up" in out and "97.5" in out and "- other digits" in out
    text = (tmp_path / "out" / "compare.md").read_text()
    assert "| hard | lora | 60 | - | - |" in text
    (tmp_path / "made.json").write_text("{}")
    assert command("compare", *flags) == 2
    assert "is no preset; its entries must be" in capsys.readouterr().err


def test_every_preset_names_files_that_are_there():
    result = sorted(RECIPES.glob("presets/*.json"))
    for path in result:
        preset = presets.read(path)
        for name in (*preset.tasks, *preset.methods):
            assert name in NAMES or pathlib.Path(name).is_file(), (path, name)
        stems = {pathlib.Path(task).stem for task in preset.tasks}
        assert stems >= {task for scores in preset.published.values() for task in scores}


def test_held_out_rows_leave_the_training_rows():
    task = load("digits")
    apart = held_out(task, 0.2, seed=3)
    rows = [apart.split(name).inputs["pixels"] for name in ("train", "heldout")]
    both = np.concatenate([x.reshape(len(x), -1) for x in rows])
    whole = task.split("train").inputs["pixels"].reshape(len(both), -1)
    assert np.array_equal(np.unique(both, axis=0), np.unique(whole, axis=0))
    with pytest.raises(ValueError, match="share is 1"):
        held_out(task, 1, seed=0)


def test_paired_intervals():
    ours = [{"seed": s, "score": v} for s, v in ((0, 0.7), (1, 0.9), (2, None), (3, 0.8))]
    reference = [{"seed": s, "score": v} for s, v in ((1, 0.5), (0, 0.5), (2, 0.5), (4, 0.1))]
    mean, half = comparison.paired(ours, reference)
    # Two pairs, .2 and .4: mean .3, standard error .1, Student's quantile 12.706.
    assert mean == pytest.approx(0.3) and half == pytest.approx(1.2706, rel=1e-4)
    assert comparison.paired(ours[:1], reference) == (pytest.approx(0.2), None)
    assert comparison.paired(ours[2:], reference) == (None, None)


def test_rows():
    made = {"task": "t", "metric": "accuracy", "majority": 0.5, "trainable_parameters": 4}
    records = [
        {**made, "recipe": "a", "seed": 0, "score": 0.6, "seconds": 60},
        {**made, "recipe": "a", "seed": 1, "score": 0.8, "seconds": 120},
        {**made, "recipe": "b", "seed": 0, "score": 0.7, "seconds": 30},
        {
            "recipe": "c",
            "seed": 0,
            "task": "t",
            "metric": "accuracy",
            "majority": 0.5,
            "score": None,
        },
    ]
    rows = [dict(zip(comparison.HEADER, row, strict=True)) for row in comparison.rows(records)]
    assert rows[0]["score"] == pytest.approx(0.7) and rows[0]["spread"] == pytest.approx(0.02**0.5)
    assert rows[0]["minutes"] == pytest.approx(1.5) and rows[0]["difference"] is None
    assert rows[1]["difference"] == pytest.approx(0.1) and rows[1]["interval"] is None
    assert rows[2]["score"] is None and rows[2]["seeds"] == 0 and rows[2]["parameters"] is None
    assert rows[0]["parameters"] == 4 and rows[0]["majority"] == 0.5


def test_a_best_rate_at_the_edge_of_those_tried_is_said():
    tried = {rate: {"score": score} for rate, score in ((1e-3, 0.7), (2e-3, 0.8), (8e-3, 0.9))}
    assert cells._edge(cells.ranked(tried)[0], tried) == "largest"
    tried[4e-3] = {"score": 0.95}
    assert cells._edge(cells.ranked(tried)[0], tried) is None
    record = {"task": "t", "recipe": "m", "metric": "f1", "majority": 0.5, "score": 0.9, "seed": 0}
    (row,) = comparison.rows([{**record, "rate": 8e-3, "rate_at_edge": "largest"}])
    assert row[comparison.HEADER.index("edge")] == "largest"
