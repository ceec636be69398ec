"""The figures of the survey on low-rank structures that need networks, by name.

The quick sizes take seconds on scikit-learn's digits, or on Gaussian inputs; they show the same
mechanism on less. The paper sizes follow the published protocol, as far as it is published.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from finetune.experiments.deep_factors import FactorsSetting, deep_factors
from finetune.experiments.dropout_rank import DropoutSetting, dropout_rank
from finetune.experiments.update_spectra import FC2, VALUE, UpdateSetting, update_spectra
from finetune.figures import survey

SOURCE = "arXiv 2503.19859"
SCALES = ("quick", "paper")
PUBLISHED = {"dln": "mnist", "mlp": "mnist", "vgg": "cifar10", "vit": "cifar10"}


@dataclasses.dataclass(frozen=True)
class Scale:
    """One size of an experiment, like that of the figures of linear_theory."""

    setting: Any
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SurveyRecipe:
    """A figure by name.

    Attributes:
      name: of its files.
      source: document and figure number.
      shows: one sentence.
      draw: (arrays, setting) -> Figure.
      experiment: (setting) -> arrays.
      sizes: (scale, seed, data_dir, model) -> setting.

    Example:
      >>> registry()["survey_dropout"].scale("paper").setting.steps
      30000
    """

    name: str
    source: str
    shows: str
    draw: Callable[..., Figure]
    experiment: Callable[[Any], dict[str, np.ndarray]]
    sizes: Callable[..., Any]

    def scale(
        self,
        name: str = "quick",
        seed: int | None = None,
        data_dir: str | os.PathLike | None = None,
        model: str | os.PathLike | None = None,
    ) -> Scale:
        """The size of that name.

        Args:
          seed: in place of all seeds.
          data_dir: a folder with MNIST and CIFAR-10; a figure whose data set it lacks, and every
            figure without a folder, takes digits.
          model: a folder with a BERT whose value matrix is adapted; None for a made matrix.

        Raises:
          ValueError: an unknown name.
        """
        if name not in SCALES:
            raise ValueError(f"scale is {name!r}; allowed are {SCALES}")
        return Scale(self.sizes(name, seed, data_dir, model))

    def arrays(self, scale: str = "quick", seed: int | None = None, data_dir=None, model=None):
        """Runs the experiment in the size of that name."""
        return self.experiment(self.scale(scale, seed, data_dir, model).setting)


def registry() -> dict[str, SurveyRecipe]:
    """All figures of the survey that need networks, by name.

    Example:
      >>> list(registry())[0]
      'survey_updates'
    """
    rows = (
        (
            "survey_updates",
            "Figure 1",
            "singular values of the penultimate matrix minus its start, over training",
            survey.updates,
            _of_networks,
            _networks,
        ),
        (
            "survey_dropout",
            "Figures 2 and 9",
            "rank of the last activations against the dropout rate",
            survey.dropout,
            dropout_rank,
            _dropout,
        ),
        (
            "survey_factors",
            "Figure 3",
            "gradient descent moves 2r directions of a factor of a product",
            survey.factors,
            deep_factors,
            _factors,
        ),
        (
            "survey_adaptation",
            "Figure 4, the matrix alone",
            "the same with Adam, for the value matrix of a BERT",
            survey.factors,
            deep_factors,
            _adaptation,
        ),
        (
            "survey_vit_layers",
            "Figures 8 and 10",
            "spectra of the updates of a vision transformer by layer",
            survey.layers,
            _of_layers,
            lambda *size: _network("vit", *size[:3]),
        ),
    )
    found = [SurveyRecipe(n, f"{SOURCE}, {figure}", *rest) for n, figure, *rest in rows]
    return {recipe.name: recipe for recipe in found}


def _of_networks(settings: tuple[UpdateSetting, ...]) -> dict[str, np.ndarray]:
    arrays = {"networks": np.asarray([one.network for one in settings])}
    for one in settings:
        found = update_spectra(one)
        arrays |= {f"{one.network}_{name}": value for name, value in found.items()}
    return arrays


def _of_layers(setting: UpdateSetting) -> dict[str, np.ndarray]:
    found = update_spectra(setting, f"{FC2}|{VALUE}")
    arrays = {}
    for name, ending in (("fc2", "output"), ("value", "value")):
        mine = np.char.endswith(found["paths"], ending)
        own = {"paths": found["paths"][mine], "values": found["values"][mine]}
        arrays |= {f"{name}_{key}": value for key, value in (found | own).items()}
    return arrays


def _dropout(scale: str, seed: int | None, *folders) -> DropoutSetting:
    seeds = {} if seed is None else {"seeds": (seed,)}
    if scale == "paper":
        return DropoutSetting(**seeds)
    # The sum over 20 outputs in place of their mean: 20 times the step, 4000 steps are enough.
    return DropoutSetting(batch_size=128, steps=4000, loss="sum", **({"seeds": (0,)} | seeds))


def _factors(scale: str, seed: int | None, *folders) -> FactorsSetting:
    return FactorsSetting(seed=seed or 0)  # the published size takes a second


def _adaptation(scale: str, seed: int | None, data_dir, model) -> FactorsSetting:
    size, steps = (64, 200) if scale == "quick" else (768, 1000)
    return FactorsSetting(
        size=size,
        rank=4 if scale == "quick" and model is None else 8,
        optimiser="adam",
        learning_rate=1e-3,
        change=True,
        steps=steps + 1,
        snapshots=20,
        model=None if model is None else os.fspath(model),
        made=True,
        seed=seed or 0,
    )


QUICK = {
    "dln": {"loss": "squared", "learning_rate": 0.05, "batch_size": 64, "epochs": 15},
    "mlp": {"learning_rate": 0.3, "batch_size": 64, "epochs": 15},
    "vgg": {
        "sizes": {"stages": ((8,), (16,)), "classifier_sizes": (64,)},
        **{"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "cosine": True},
        **{"epochs": 6, "snapshots": 10, "batch_size": 64},
    },
    "vit": {
        "sizes": {
            **{"patch_size": 2, "hidden_size": 32, "num_hidden_layers": 4},
            **{"num_attention_heads": 4, "intermediate_size": 64},
            "initializer_range": 0.1,  # 0.02 is right for 768 features, and too small for 32
        },
        **{"optimiser": "adam", "learning_rate": 3e-3, "cosine": True, "epochs": 10},
        **{"batch_size": 64, "snapshots": 10},
    },
}
PAPER = {
    "dln": {"loss": "squared", "learning_rate": 0.01, "epochs": 20},
    "mlp": {"learning_rate": 0.01, "epochs": 20},
    "vgg": {
        "sizes": {"classifier_sizes": (512,)},
        **{"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "cosine": True},
        "epochs": 200,
    },
    "vit": {
        "sizes": {"patch_size": 4},
        **{"optimiser": "adam", "learning_rate": 1e-5, "cosine": True, "epochs": 200},
        "batch_size": 512,
    },
}
"""The published rates, batches and schedules; lengths, depth and patches are not given there."""
SOME_ROWS = 1024  # of real images at the quick size


def _networks(scale, seed, data_dir, model) -> tuple[UpdateSetting, ...]:
    return tuple(_network(name, scale, seed, data_dir) for name in PUBLISHED)


def _network(name: str, scale: str, seed: int | None, data_dir) -> UpdateSetting:
    options = dict((QUICK if scale == "quick" else PAPER)[name], network=name, seed=seed or 0)
    if data_dir is not None and _has(data_dir, PUBLISHED[name]):
        options |= {"task": PUBLISHED[name], "data_dir": os.fspath(data_dir)}
        if scale == "quick":
            options |= {"rows": SOME_ROWS}
            wide = {"hidden_size": 128} if name in ("dln", "mlp") else {}
            wide = {"patch_size": 8} if name == "vit" else wide
            options["sizes"] = {**options.get("sizes", {}), **wide}
            if name in ("dln", "mlp"):
                options["learning_rate"] = 0.1
    elif name == "vit":
        options["sizes"] = {**options["sizes"], "patch_size": 2}
    return UpdateSetting(**options)


def _has(folder, task: str) -> bool:
    folder = pathlib.Path(folder)
    files = (f"{task}.npz", task, f"{task}_jpeg")
    return any((folder / name).exists() for name in files)
