"""The course of the learning rates is an argument of the step."""

import pytest

from finetune.methods import NAMES, MethodConfig
from launch.training import job
from launch.training.config import TrainConfig

SCHEDULED = [name for name in NAMES if MethodConfig(name).scheduled]
OTHERS = ["adalora", "sequential"]  # two that deal the steps out


def text(method, steps, rate):
    """The program of a step, before it is compiled."""
    size = {"task": "digits", "hidden_size": 16, "batch_size": 4}
    config = TrainConfig(method=method, steps=steps, learning_rate=rate, **size)
    run = job.prepare(config)
    begun = job.started(config, run)
    state = run.state if begun is None else begun.state
    batch = run.task.batch("train", 0, 0, 4)
    return run.step.lower(state, run.network.params, batch).as_text()


@pytest.mark.parametrize("method", [*SCHEDULED, *OTHERS])
def test_a_program_serves_runs_of_other_rates_and_where_it_can_lengths(method):
    assert (text(method, 12, 1e-2) == text(method, 20, 1e-3)) == (method in SCHEDULED)
