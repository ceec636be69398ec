"""Scores of runs that saw more than others are told apart from those of methods."""

from launch.comparing.lengths import notes


def run(recipe, task="rte", **more):
    return {"task": task, "recipe": recipe, **more}


def test_only_what_differs_is_said():
    same = [run("lora", steps=9, batch_size=4), run("dora", steps=9, batch_size=4), run("old")]
    assert notes(same) == []
    assert notes([*same, run("sora", steps=9, batch_size=8)]) == [
        "rte: not as much training for all: rows a step 4 (lora, dora), 8 (sora)"
    ]


def test_tasks_have_their_own_lengths():
    runs = [run("lora", steps=9), run("lora", "cola", steps=20), run("full", "cola", steps=5)]
    assert notes(runs) == ["cola: not as much training for all: steps 20 (lora), 5 (full)"]
