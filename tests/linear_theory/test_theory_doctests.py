"""The examples in the docstrings of formulas and instances run as they are printed."""

import doctest
import importlib

import pytest

MODULES = [
    "batching",
    "cascade",
    "draws",
    "inexact",
    "pairs",
    "perturbation",
    "recovery",
    "truncation",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(f"linear_theory.{name}"))
    assert result.attempted > 0 and result.failed == 0
