"""The examples in the docstrings of the tasks run as they are printed."""

import doctest
import importlib

import pytest

NAMES = ("batches", "class_names", "prompts", "metrics", "text", "tokenizer", "gsm8k", "humaneval")


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    module = importlib.import_module(f"finetune.tasks.{name}")
    found = doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=vars(module))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in found:
        runner.run(test, out=report.append)
    assert runner.failures == 0, "".join(report)
    assert runner.tries > 0
