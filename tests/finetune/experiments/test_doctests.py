"""The examples in the docstrings of the studies, and of methods, run as they are printed."""

import doctest
import importlib

import pytest

MODULES = [
    "finetune.figures.vision",
    "finetune.figures.pretraining",
    "finetune.figures.survey",
    "finetune.survey_recipes",
    "finetune.recipes",
    *(
        f"finetune.methods.{name}"
        for name in (
            "deep_factors",
            "deeplora",
            "full",
            "loraga",
            "loraone",
            "onestep",
            "preconditioned",
            "spectra",
        )
    ),
    *(
        f"finetune.experiments.{name}"
        for name in (
            "comparisons",
            "corpus",
            "cost",
            "deep_factors",
            "descent",
            "adaptation",
            "deep_adaptation",
            "dropout_images",
            "dropout_rank",
            "factor_rates",
            "halves",
            "image_training",
            "paths",
            "pretraining",
            "programs",
            "setting",
            "study",
            "update_spectra",
        )
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    report = []
    for test in found:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
