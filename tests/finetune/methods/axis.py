"""Methods as an axis of tests."""

import pytest

from finetune.methods import NAMES

ALIKE = (
    *("loraplus", "plora", "rite", "adarankgrad", "debora"),
    *("parallel", "sequential", "relora", "loraga"),
)
"""They differ from a method beside them in how they step or start, which tests of their own and
of the training loop hold; what they store, export and change is that method's code."""

thorough = pytest.mark.thorough


def beside(repeats):
    """The names of all methods; those in `repeats` are tried when asked for."""
    return [pytest.param(name, marks=thorough) if name in repeats else name for name in NAMES]


METHODS = beside(ALIKE)
"""For what is the same of methods that are alike; a new method is tried always."""
