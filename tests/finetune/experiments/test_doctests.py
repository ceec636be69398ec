"""The examples in the docstrings of the image study run as they are printed."""

import doctest
import importlib

import pytest

MODULES = [
    "finetune.figures.vision",
    "finetune.figures.pretraining",
    "finetune.figures.survey",
    "finetune.survey_recipes",
    "finetune.recipes",
    "finetune.methods.full",
    *(
        f"finetune.experiments.{name}"
        for name in (
            "comparisons",
            "corpus",
            "cost",
            "deep_factors",
            "descent",
            "dropout_images",
            "dropout_rank",
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
