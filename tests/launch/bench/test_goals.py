"""The page of goals: the worst row decides, and nothing that was not measured passes."""

import math

import pytest

from launch.bench import goals
from launch.bench.rows import bounded, record


def row(case, ours, other, seconds, suite="made", **more):
    return record(suite, case, (ours, other), seconds, (None, None), **more)


@pytest.fixture
def made(monkeypatch):
    chosen = (
        goals.Goal("quick", "made", "^start"),
        goals.Goal("ahead", "made", r"\| theirs$", 3.0, bound=r"\| (sweep|product)$"),
        goals.Goal("smaller", "made", r"\| theirs$", 1.0, goals.memory),
        goals.Goal("elsewhere", "other", ".", otherwise="by hand"),
    )
    monkeypatch.setattr(goals, "GOALS", chosen)
    return chosen


def test_the_worst_row_decides(made):
    rows = [
        row("start", "ours", goals.GOAL, (0.5, 1.0)),
        row("first", "ours", "theirs", (1.0, 9.0), bytes_ours=1, bytes_competitor=4),
        row("second", "ours", "theirs", (2.0, 3.0), bytes_ours=2, bytes_competitor=5),
        row("second", "ours", "sweep", (2.0, 1.5)),
        row("second", "ours", "product", (2.0, 0.5)),
    ]
    quick, ahead, smaller, elsewhere = goals.verdicts(rows, {"other": "no package"})
    assert quick == ("quick", "1 s", "0.5 s", "PASS", "start", "")
    assert ahead == ("ahead", "3 x", "1.5 x", "2 x missing", "second", "sweep: 1.5 of 2 s")
    assert smaller == ("smaller", "1 x", "2.5 x", "PASS", "second", "")
    assert elsewhere == ("elsewhere", "1 x", "-", "not measured", "no package", "")
    assert goals.verdicts(rows, {})[3].worst == "by hand"
    assert goals.page(rows, {}).endswith("2 of 4 goals reached, 1 not measured")


def test_a_row_has_its_own_bound(made):
    more = {"bytes_ours": 2, "bytes_competitor": 1} | bounded("reading", 0.75)
    ahead, smaller = goals.verdicts([row("a", "ours", "theirs", (1.0, 2.0), **more)], {})[1:3]
    assert ahead.bound == ""  # whose goal names other rows
    assert smaller.verdict == "2 x missing" and smaller.bound == ""  # of bytes it says nothing
    quick = goals.verdicts([row("start", "ours", goals.GOAL, (2.0, 1.0), **more)], {})[0]
    assert quick.bound == "reading: 0.75 of 2 s"


def test_who_does_not_arrive():
    assert goals.ratio(row("a", "ours", "theirs", (1.0, None))) == math.inf
    assert goals.ratio(row("a", "ours", "theirs", (None, 1.0))) == 0
    assert goals.ratio(row("a", "ours", "theirs", (None, None))) == 0


def test_one_who_never_arrives_misses_it_all(made):
    rows = [row("a", "ours", "theirs", (None, 1.0), bytes_ours=1, bytes_competitor=1)]
    ahead = goals.verdicts(rows, {})[1]
    assert ahead.verdict == "inf x missing" and ahead.measured == "0 x"


def test_goals_of_steps_know_their_competitor():
    def steps(other, *names):
        return [row("a step", name, other, (1.0, 2.0), "finetune") for name in names]

    lora, default, _ = steps(
        "LoRA", "AdaPaD parallel, grown", "AdaPaD default, a whole run", "AdaPaD split, grown"
    )
    masks = steps("PEFT AdaLoRA, masks", "AdaPaD parallel, grown", "AdaLoRA, masks")
    peft = steps("PEFT LoRA", "LoRA")
    language = [
        row(f"a language model's step, {dtype}", "LoRA", "PEFT LoRA", (1.0, 2.0), "finetune")
        for dtype in ("float32", "bfloat16")
    ]
    found = {
        goal.text: goal.rows([lora, default, *masks, *peft, *language])
        for goal in goals.GOALS
        if goal.suite == "finetune"
    }
    assert found["AdaPaD --phase=parallel beside LoRA"] == [lora]
    assert found["AdaPaD's default over a run, beside LoRA"] == [default]
    assert found["LoRA step beside PEFT's"] == found["memory of it beside PEFT's"] == peft
    own = [text for text in found if "language model" in text]
    assert [found[text] for text in own] == [[one] for one in language]
