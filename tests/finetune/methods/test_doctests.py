"""The examples in the docstrings of the methods run as they are printed."""

import doctest
import importlib
import pkgutil

import pytest

import finetune.methods

MODULES = [found.name for found in pkgutil.iter_modules(finetune.methods.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"finetune.methods.{name}")
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
