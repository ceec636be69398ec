"""The numbering that a run begins with, and the one that it keeps."""

import dataclasses

import pytest

from finetune.tasks import load
from launch.training import classes

TASK = load("digits")
NAMES = tuple(TASK.label_names)


def test_a_run_keeps_its_numbering():
    assert classes.fixed(TASK, NAMES[::-1]).label_names == NAMES[::-1]
    assert classes.fixed(TASK, ()) is TASK
    with pytest.raises(ValueError, match=r"allowed are those of the network, a, b .*--head=new"):
        classes.fixed(TASK, ("a", "b"))


def test_a_run_begins_with_that_of_the_model():
    assert classes.begun(TASK, None, "m") is TASK
    assert classes.begun(TASK, NAMES[::-1], "m").label_names == NAMES[::-1]
    # Another number of classes: the head is refused for that, where it is read.
    assert classes.begun(TASK, ("a", "b"), "m") is TASK
    years = tuple(map(str, range(1990, 2000)))
    other = classes.begun(dataclasses.replace(TASK, note="few"), years, "m")
    assert other.label_names == NAMES
    said = f"--model=m names its classes {', '.join(years)}, the data {', '.join(NAMES)}"
    assert other.note == f"few; {said}"
