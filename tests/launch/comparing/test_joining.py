"""Comparisons that ran apart, in one table."""

import json

import pytest

from launch.comparing.joining import joined, read
from tests.launch.commands import command

EASY = "--task=digits\n--hidden_size=16\n--steps=4\n"


def run(task="rte", recipe="lora", seed=0, score=0.5, **more):
    names = {"task": task, "recipe": recipe, "seed": seed, "metric": "accuracy", "majority": 0.5}
    return {**names, "score": score, "split": "validation", **more}


def test_tasks_come_together_and_runs_once():
    first = [run("rte"), run("mrpc"), run("mrpc", "dora")]
    second = [run("mrpc"), run("rte", "dora"), run("rte", "dora", 1)]
    found = [(r["task"], r["recipe"], r["seed"]) for r in joined([("a", first), ("b", second)])]
    assert found[:3] == [("rte", "lora", 0), ("rte", "dora", 0), ("rte", "dora", 1)]
    assert found[3:] == [("mrpc", "lora", 0), ("mrpc", "dora", 0)]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (run(score=0.25), "a and b both have lora on rte with seed 0, and not the same scores"),
        (run(recipe="dora", metric="f1"), "c and b have other metrics for rte"),
        (run(recipe="dora", base="y"), "a and b have other base models for rte"),
        (run(recipe="dora", data={"validation": "y"}), "a and b have other rows to score on"),
    ],
)
def test_what_does_not_go_together(other, words):
    known = run(base="x", data={"validation": "x", "train": "z"})
    older = run(recipe="head")  # does not say what it was scored on
    assert len(joined([("c", [older]), ("a", [known])])) == 2
    with pytest.raises(ValueError, match=words):
        joined([("c", [older]), ("a", [known]), ("b", [other])])


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "has no runs"), ("{}", "holds a dict; allowed is a list"), ("[", "is not JSON")]
    + [(text, "has a record without 'task'") for text in ('[{"score": 1}]', "[3]")],
)
def test_files_that_are_no_comparison(tmp_path, text, words):
    (tmp_path / "compare.json").write_text(text)
    with pytest.raises(ValueError, match=f"{tmp_path}/compare.json {words}"):
        read(tmp_path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read(tmp_path / "none.json")


def test_two_folders_and_a_new_method(tmp_path, capsys):
    (tmp_path / "easy.flags").write_text(EASY)
    task = f"--tasks={tmp_path}/easy.flags"
    for name, methods in (("a", "lora,head"), ("b", "dora,lora")):
        flags = [task, f"--methods={methods}", f"--workdir={tmp_path}/{name}"]
        assert command("compare", *flags) == 0
    capsys.readouterr()
    both = f"--join={tmp_path}/a,{tmp_path}/b/compare.json"
    assert command("compare", both, f"--workdir={tmp_path}/both") == 0
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()[2:5]] == ["lora", "head", "dora"]
    assert "difference: to lora" in printed.out and printed.err == ""
    records = json.loads((tmp_path / "both/compare.json").read_text())
    assert [r["recipe"] for r in records] == ["lora", "head", "dora"]
    # Runs of this command stand behind them.
    flags = [f"--join={tmp_path}/both", task, "--methods=full", f"--workdir={tmp_path}/more"]
    assert command("compare", *flags) == 0
    assert len(json.loads((tmp_path / "more/compare.json").read_text())) == 4
    # As many steps and rows for all is what a table takes for granted.
    assert "not as much" not in capsys.readouterr().out
    flags = [f"--join={tmp_path}/both", task, "--methods=sora", f"--workdir={tmp_path}/less"]
    assert command("compare", *flags, "--steps=2") == 0
    said = "easy: not as much training for all: steps 4 (lora, head, dora), 2 (sora)"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "less/compare.md").read_text()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--join=absent"], "absent cannot be read: No such file"),
        (["--join=."], "compare.json cannot be read"),
        (["--join=a,a"], "--join names 'a' more than once"),
        (
            ["--join=absent", "--seeds=0"],
            "--seeds=0 has no effect with --join alone; allowed is it",
        ),
        (["--join=absent", "--rank=2"], "--rank=2 has no effect with --join alone"),
        (["--join=absent", "--methods=lora"], "--tasks is empty; allowed is at least one"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    assert command("compare", *flags, "--workdir=out") == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
