"""The figures of the survey on low-rank structures that need networks, by name.

The quick sizes take seconds on scikit-learn's digits, or on Gaussian inputs; they show the same
mechanism on less. The paper sizes follow the published protocol, as far as it is published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from finetune.studies.pretraining import figures as pretraining_figure
from finetune.studies.pretraining.pretraining import pretraining
from finetune.studies.survey import adapter_figures as survey_adapters
from finetune.studies.survey import adapter_sizes, sizes
from finetune.studies.survey import figures as survey
from finetune.studies.survey.deep_adaptation import deep_adaptation
from finetune.studies.survey.deep_factors import deep_factors
from finetune.studies.survey.dropout_images import dropout_images
from finetune.studies.survey.dropout_rank import dropout_rank
from finetune.studies.survey.factor_rates import factor_rates
from finetune.studies.survey.image_training import ImageSetting
from finetune.studies.survey.update_spectra import FC2, VALUE, update_spectra
from rankwise.plots.recipe import Recipe, Scale, Sizes

SOURCE = "arXiv 2503.19859"


def registry() -> dict[str, Recipe]:
    """All figures of the survey that need networks, by name.

    Their data_dir is a folder with MNIST and CIFAR-10, or with STS-B; a figure whose data set it
    lacks, and every figure without a folder, takes digits. Their model is a folder with a BERT
    whose value matrix is adapted, or which is adapted to STS-B; without one a made matrix, and
    digits.

    Example:
      >>> registry()["survey_dropout"].scale("paper").setting.steps
      30000
    """
    rows = (
        (
            "survey_updates",
            "Figure 1",
            "singular values of the penultimate matrix minus its start, over training",
            survey.updates,
            _of_networks,
            sizes.networks,
        ),
        (
            "survey_dropout",
            "Figures 2 and 9, linear teacher",
            "rank of the first and last activations by dropout rate, and over training",
            survey.dropout,
            dropout_rank,
            sizes.dropout,
        ),
        (
            "survey_dropout_resnet",
            "Figures 2 and 9, ResNet",
            "rank of a ResNet's first and last features by dropout rate, and over training",
            survey.dropout,
            dropout_images,
            sizes.dropout_images,
        ),
        (
            "survey_factors",
            "Figure 3",
            "gradient descent moves 2r directions of a factor of a product",
            survey.factors,
            deep_factors,
            sizes.factors,
        ),
        (
            "survey_adaptation",
            "Figure 4, the matrix alone",
            "the same with Adam, for the value matrix of a BERT",
            survey.factors,
            deep_factors,
            sizes.adaptation,
        ),
        (
            "survey_factor_rates",
            "Figure 5",
            "LoRA's factors, loss and score with one rate and with a faster second factor",
            survey_adapters.rates,
            factor_rates,
            adapter_sizes.rates,
        ),
        (
            "survey_deep_lora",
            "Figure 6",
            "spectra and subspaces of Deep LoRA's updates, ranks by layer, and few rows",
            survey_adapters.deep,
            deep_adaptation,
            adapter_sizes.deep,
        ),
        (
            "survey_vit_layers",
            "Figures 8 and 10",
            "spectra of the updates of a vision transformer by layer",
            survey.layers,
            _of_layers,
            lambda *size: sizes.network("vit", *size[:3]),
        ),
    )
    recipes = [
        Recipe(name, f"{SOURCE}, {where}", shows, experiment, draw, _scaled(setting_of))
        for name, where, shows, draw, experiment, setting_of in rows
    ]
    recipes.append(
        Recipe(
            "pretraining",
            "arXiv 2403.03507, 2307.05695, 2410.17881",
            "GaLore, ReLoRA and AdaRankGrad from scratch: loss, memory, rank of the gradients",
            pretraining,
            pretraining_figure.pretraining,
            _scaled(sizes.pretraining),
        )
    )
    return {recipe.name: recipe for recipe in recipes}


def _scaled(setting_of: Callable[..., Any]) -> Sizes:
    """(scale, seed, data_dir, model) -> setting, as the sizes of a recipe."""
    return lambda *request: Scale(setting_of(*request))


def _of_networks(settings: tuple[ImageSetting, ...]) -> dict[str, np.ndarray]:
    arrays = {"networks": np.asarray([setting.network for setting in settings])}
    for setting in settings:
        spectra = update_spectra(setting)
        arrays |= {f"{setting.network}_{name}": value for name, value in spectra.items()}
    return arrays


def _of_layers(setting: ImageSetting) -> dict[str, np.ndarray]:
    spectra = update_spectra(setting, f"{FC2}|{VALUE}")
    arrays = {}
    for name, ending in (("fc2", "output"), ("value", "value")):
        chosen = np.char.endswith(spectra["paths"], ending)
        own = {"paths": spectra["paths"][chosen], "values": spectra["values"][chosen]}
        arrays |= {f"{name}_{key}": value for key, value in (spectra | own).items()}
    return arrays
