"""Where the figures of `launch.figures` come from: the theory, and the study with networks."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from finetune.studies.survey import registry as survey_recipes
from finetune.studies.vision import registry as recipes
from launch.shell import app
from linear_theory import figures as theory
from rankwise.plots import style

NETWORKS = (recipes.Recipe, survey_recipes.SurveyRecipe)
Recipe = theory.Recipe | recipes.Recipe | survey_recipes.SurveyRecipe
Scale = theory.Scale | recipes.Scale


def registry() -> dict[str, Recipe]:
    """All figures by name: those of the theory, then those that need networks."""
    return {**theory.registry(), **recipes.registry(), **survey_recipes.registry()}


def sized(
    recipe: Recipe, scale: str, seed: int | None, data_dir: str | None, model: str | None = None
) -> Scale:
    """The scale of a figure.

    Args:
      data_dir, model: folders of images and of a model, for the figures that take them.

    Raises:
      FileNotFoundError: a folder without images, for a figure that needs some.
    """
    given = (data_dir,) if isinstance(recipe, NETWORKS) else ()
    given += (model,) if isinstance(recipe, survey_recipes.SurveyRecipe) else ()
    return recipe.scale(scale, seed, *given)


def measured(recipe: Recipe, scale: Scale, workdir: str) -> Mapping[str, np.ndarray]:
    """Runs the experiment; one run serves all figures of the study with networks.

    Args:
      workdir: where that study keeps its finished seeds, in a folder "seeds".
    """
    if isinstance(recipe, recipes.Recipe):
        return _vision(scale.setting, pathlib.Path(workdir).absolute() / "seeds")
    return recipe.experiment(scale.setting, **scale.options)


def drawn(recipe: Recipe, scale: Scale, workdir: str) -> tuple[Figure, Mapping[str, np.ndarray]]:
    """The figure of a size, and the arrays that it shows; see `measured`."""
    arrays = measured(recipe, scale, workdir)
    return style.styled(recipe.draw)(arrays, scale.setting), arrays


@functools.lru_cache(maxsize=1)
def _vision(setting: recipes.Suite, folder: pathlib.Path) -> dict[str, np.ndarray]:
    ticks = app.progress(range(setting.epochs), setting.epochs, "epochs")

    def tick(stage: str, epochs: int) -> None:
        for _ in range(epochs):
            next(ticks)

    found = recipes.Recipe.experiment(setting, folder, tick)
    next(ticks, None)  # the line, or the end of the bar, after the last epoch
    return found
