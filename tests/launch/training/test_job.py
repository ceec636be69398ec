"""The parts of a run before its first step."""

import pytest

from launch.training import job
from launch.training.config import TrainConfig


@pytest.mark.parametrize(("asked", "size"), [(128, 120), (256, 184), (359, 359), (1000, 360)])
def test_an_evaluation_is_hardly_filled_up(asked, size):
    """359 rows of digits: three passes of 120 rows rather than of 128, two of 184, one."""
    run = job.prepare(TrainConfig(task="digits", method="lora", steps=1, eval_batch_size=asked))
    assert len(run.task.split(run.task.evaluation)) == 359
    assert run.loop.eval_batch_size == size
