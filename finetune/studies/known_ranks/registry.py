"""The figure by name, with its two sizes."""

from __future__ import annotations

import dataclasses

from finetune.studies.known_ranks.figures import known_ranks as draw
from finetune.studies.known_ranks.study import KnownRanksSetting, known_ranks
from finetune.studies.known_ranks.teacher import TeacherSetting
from rankwise.plots.recipe import Recipe, Scale

QUICK = KnownRanksSetting(
    TeacherSetting(width=16, layers=1, heads=2, inner=16, ranks=(1, 1, 1, 1, 2, 4)),
    **{"steps": 200, "rates": (1.5e-2,), "seeds": (0, 1, 2)},
    contenders=("oracle", "lora", "adapad"),
)


def registry() -> dict[str, Recipe]:
    """The figure of known ranks, by name.

    Example:
      >>> list(registry())
      ['known_ranks']
    """
    shows = "held-out error, ranks and time of methods on teachers whose ranks are known"
    recipe = Recipe("known_ranks", "made here", shows, known_ranks, draw, _sizes, resumable=True)
    return {recipe.name: recipe}


def _sizes(scale: str, seed: int | None, data_dir, model) -> Scale:
    """Every contender on six problems of twelve modules, or three on three of six."""
    del data_dir, model
    setting = KnownRanksSetting() if scale == "paper" else QUICK
    return Scale(setting if seed is None else dataclasses.replace(setting, seeds=(seed,)))
