"""The command: a grid of runs, its table, and what a second call does not repeat."""

import json

import pytest

from launch import comparison
from tests.launch.commands import command


@pytest.fixture
def recipes(tmp_path):
    (tmp_path / "easy.flags").write_text("# a task\n--task=digits\n--hidden_size=16\n--steps=6\n")
    (tmp_path / "thin.flags").write_text("--method=lora\n--rank=1\n")
    (tmp_path / "grown.flags").write_text("--method=adapad\n--rank=2\n--budget=3\n")
    methods = f"{tmp_path}/thin.flags,{tmp_path}/grown.flags"
    return [f"--tasks={tmp_path}/easy.flags", f"--methods={methods}", f"--workdir={tmp_path}/out"]


def test_a_grid(recipes, tmp_path, capsys):
    assert command("compare", *recipes, "--seeds=0,1", "--steps=4") == 0
    out = capsys.readouterr().out
    records = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [(r["recipe"], r["seed"], r["steps"]) for r in records] == [
        ("thin", 0, 4),
        ("thin", 1, 4),
        ("grown", 0, 4),
        ("grown", 1, 4),
    ]
    assert "thin" in out and "majority" in out
    lines = (tmp_path / "out" / "compare.md").read_text().splitlines()
    assert len(lines) == 4 and lines[0].startswith("| task | method | metric |")
    # The second seed shares compiled programs with the first, and gives what it gives alone.
    alone = ["--task=digits", "--hidden_size=16", "--method=adapad", "--rank=2", "--budget=3"]
    assert command("train", *alone, "--seed=1", "--steps=4", f"--workdir={tmp_path}/alone") == 0
    adapter = (tmp_path / "alone" / "adapter.safetensors").read_bytes()
    assert (tmp_path / "out/easy.grown.1/adapter.safetensors").read_bytes() == adapter


def test_what_is_finished_is_not_repeated(recipes, tmp_path, capsys):
    assert command("compare", *recipes, "--steps=2") == 0
    done = tmp_path / "out/easy.thin.0/result.json"
    before = done.stat().st_mtime_ns
    (tmp_path / "out/easy.grown.0/result.json").unlink()
    assert command("compare", *recipes, "--steps=2") == 0
    assert done.stat().st_mtime_ns == before
    assert (tmp_path / "out/easy.grown.0/result.json").exists()
    capsys.readouterr()
    assert command("compare", *recipes, "--steps=3") == 2
    assert "holds a run with --steps=2, not 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--seeds="], "--seeds is empty"),
        (["--methods=/absent.flags"], "/absent.flags is no file of flags"),
        (["--order=1"], "with OUT/thin.flags: order is 1.0, which method 'lora' does not have"),
        (["--seeds=x"], "seed"),
    ],
)
def test_mistakes_are_known_before_the_first_run(recipes, tmp_path, flags, word, capsys):
    assert command("compare", *recipes, *flags) == 2
    err = capsys.readouterr().err
    assert word.replace("OUT", str(tmp_path)) in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_rows():
    made = {"task": "t", "metric": "accuracy", "majority": 0.5, "trainable_parameters": 4}
    records = [
        {**made, "recipe": "a", "score": 0.6, "seconds": 60},
        {**made, "recipe": "a", "score": 0.8, "seconds": 120},
        {**made, "recipe": "b", "score": 0.7, "seconds": 30},
    ]
    first, second = comparison.rows(records)
    assert first == ("t", "a", "accuracy", pytest.approx(0.7), pytest.approx(0.02**0.5), *first[5:])
    assert first[5:] == (2, 0.5, 4, pytest.approx(1.5)) and second[4] is None
    assert comparison.markdown([second]).splitlines()[2].count("|") == len(comparison.HEADER) + 1
