"""The examples in the docstrings of every module run as they are printed."""

import doctest
import importlib
import pkgutil

import pytest

import deflation

MODULES = ["deflation"] + [
    f"deflation.{module.name}" for module in pkgutil.iter_modules(deflation.__path__)
]


def examples(name):
    return doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in examples(name):
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_examples_exist():
    """Of every public function and class with a docstring of its own."""
    modules = {test.name for name in MODULES for test in examples(name) if test.examples}
    for function in (
        "ways.sequential",
        "ways.parallel",
        "ways.sharded",
        "ways.exact",
        "ways.joint",
        "run.advance",
        "starting.start",
        "saving.save",
        "budgets.equal",
    ):
        assert f"deflation.{function}" in modules
    assert len(modules) >= 20
