"""What takes long says so; what is quick is silent."""

import time

import jax
import pytest

from launch.shell import waiting
from launch.training import display as train_display
from launch.training.display import Display


def test_a_stage_is_said_when_it_is_slow(capsys, monkeypatch):
    monkeypatch.setattr(waiting, "SLOW", 0.01)
    with waiting.stage("loading"):
        deadline = time.monotonic() + 60
        err = ""
        while not err and time.monotonic() < deadline:
            time.sleep(0.01)
            err += capsys.readouterr().err
    assert err == "loading ...\n"


def test_a_quick_or_failed_stage_is_silent(capsys):
    with waiting.stage("loading"):
        pass
    with pytest.raises(ValueError, match="no"), waiting.stage("loading"):
        raise ValueError("no")
    assert capsys.readouterr().err == ""


def test_a_long_evaluation_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr(train_display, "QUIET", -1.0)
    display = Display(10, 0, "accuracy", name="lora on rte")
    predict = display.watched(jax.numpy.sin, 2)
    for _ in range(3):
        predict(1.0)
    display.close()
    lines = capsys.readouterr().err.splitlines()
    start = "lora on rte: step 0/10: evaluating, "
    assert lines == [f"{start}{done}/2 batches" for done in (0, 1, 0)]
