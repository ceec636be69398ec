"""Average, place, wins and losses over tasks."""

from launch.comparing import standings
from launch.comparing.picture import curves
from tests.launch.comparing.rows import row


def test_a_method_that_lacks_a_task_has_no_standing():
    rows = [row("x", "lora", 0.7), row("x", "dora", None), row("y", "lora", 0.6)]
    rows += [row("y", "dora", 0.9)]
    assert [line[0] for line in standings.standings(rows)] == ["lora"]
    assert standings.standings(rows[:2]) == []


def test_wins_and_losses_need_an_interval_beyond_noise():
    rows = [row("x", "lora", 0.7), row("x", "a", 0.8, 0.1, 0.05), row("x", "b", 0.6, -0.1, 0.05)]
    rows += [row("y", "lora", 0.7), row("y", "a", 0.8, 0.1, 0.3), row("y", "b", 0.6, -0.1, None)]
    sides = {line[0]: line[5:8] for line in standings.standings(rows)}
    assert sides == {"a": (1, 1, 0), "lora": (0, 0, 0), "b": (0, 0, 1)}


def test_less_loss_is_better():
    rows = [
        row(t, m, s, g, 0.1, "loss")
        for t in "xy"
        for m, s, g in (("a", 2.0, None), ("b", 1.0, -1.0))
    ]
    best, other = standings.standings(rows)
    assert best == ("b", 2, None, 1.0, 2, 2, 0, 0, 4.0) and other[3] == 2.0


def test_curves_have_a_line_per_run_and_a_mean_over_shared_steps():
    def record(seed, curve):
        return {
            "task": "x",
            "recipe": "lora",
            "seed": seed,
            "metric": "accuracy",
            "majority": 0.5,
            "curve": curve,
        }

    figure = curves(
        [record(0, [(1, 0.5), (2, 0.7)]), record(1, [(2, 0.9), (3, 1.0)]), record(2, [])]
    )
    lines = figure.axes[0].lines
    assert len(lines) == 4  # two runs, their mean, the majority class
    assert list(lines[2].get_xdata()) == [2] and abs(lines[2].get_ydata()[0] - 0.8) < 1e-12
