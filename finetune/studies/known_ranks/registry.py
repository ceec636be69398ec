"""The figure by name, with its two sizes."""

from __future__ import annotations

import dataclasses
import os

from finetune.models.loading import resolve
from finetune.models.registry import read_config
from finetune.studies.known_ranks.figures import known_ranks as draw
from finetune.studies.known_ranks.study import KnownRanksSetting, known_ranks
from finetune.studies.known_ranks.teacher import TeacherSetting
from finetune.studies.known_ranks.training import LOOKS
from rankwise.plots.recipe import Recipe, Scale

QUICK = KnownRanksSetting(
    TeacherSetting(width=16, layers=1, heads=2, inner=16, ranks=(1, 1, 1, 2, 3, 4)),
    **{"steps": 200, "rates": (1.5e-2,), "seeds": (0, 1, 2)},
    contenders=("oracle", "lora", "adapad"),
)

OF_MODEL = {
    "rates": (1e-3, 3e-3, 1e-2),
    "search_seeds": (100,),
    "seeds": (0, 1, 2),
    "contenders": ("lora", "oracle", "adapad", "adalora", "increlora", "lora_equal"),
}


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
    """Every contender on six problems of twelve modules, or three on three of six; with a model,
    six on three problems whose base it is, or two in a few steps on one."""
    del data_dir
    setting = KnownRanksSetting() if scale == "paper" else QUICK
    if model is not None:
        config = read_config(resolve(model), labels=1)
        own = {"width": config.hidden_size, "words": config.vocab_size, "model": os.fspath(model)}
        setting = KnownRanksSetting(TeacherSetting(**own), **OF_MODEL)
        if scale == "quick":
            few = {"steps": LOOKS, "rates": (3e-3,), "seeds": (0,)}
            setting = dataclasses.replace(setting, contenders=("oracle", "lora"), **few)
    return Scale(setting if seed is None else dataclasses.replace(setting, seeds=(seed,)))
