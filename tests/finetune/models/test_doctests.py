"""The examples in the docstrings of the language models run as they are printed."""

import doctest
import importlib

import pytest

MODULES = ["buckets", "llama", "rotary", "t5"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = importlib.import_module(f"finetune.models.{name}")
    result = doctest.testmod(found)
    assert result.attempted > 0 and result.failed == 0
