"""Figures of the papers by name: which ones, their measurements, and the files of each."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time

from launch.evidence.sources import drawn, registry
from launch.shell import waiting
from launch.shell.config_flags import LARGEST_SEED
from launch.shell.outputs import Workdir
from launch.shell.tables import table
from rankwise.files import write_json
from rankwise.options import option
from rankwise.plots.files import save, save_arrays
from rankwise.plots.recipe import SCALES, Recipe, Scale
from rankwise.settings import changed

ALL = "all"


@dataclasses.dataclass(frozen=True)
class FiguresConfig:
    """The flags of `python -m launch.figures`."""

    name: str = option(ALL, "name of one figure, or all")
    list: bool = option(False, "print the figures and draw nothing")
    scale: str = option(
        "quick",
        "size of the experiments: seconds each (quick), or as published (paper)",
        tuple(SCALES),
    )
    seed: int | None = option(
        None, "seed of all randomness; by default each figure's own", lower=0, upper=LARGEST_SEED
    )
    data_dir: str | None = option(
        None,
        "folder with MNIST, CIFAR-10, CIFAR-100 or STS-B, by default scikit-learn's digits; "
        "of pretraining: folder or file of text, by default Python's help texts",
        path=True,
    )
    model: str | None = option(
        None,
        "folder of a pretrained BERT, for known_ranks and the figures of survey_* that take one",
        path=True,
    )
    setting: str | None = option(
        None,
        'changes to the size of one figure, an object of JSON with fields of the "setting" that '
        "its NAME.json shows: --setting='{\"steps\": 1600}'",
    )
    workdir: str = option("runs/figures", "folder for the files, made if missing", path=True)


def draw_figures(chosen: list[Recipe], config: FiguresConfig) -> None:
    """Measures and draws figures, one after the other."""
    workdir = Workdir(config.workdir, config)
    rows = []
    for recipe in waiting.progress(chosen, len(chosen), "figures"):
        started = time.perf_counter()
        files = produce(recipe, config)
        rows.append((recipe.name, round(time.perf_counter() - started, 1), files[0]))
        workdir.metric({"figure": recipe.name, "seconds": rows[-1][1]})
    workdir.result({"figures": [row[0] for row in rows], "seconds": sum(row[1] for row in rows)})
    print(table(("figure", "seconds", "file"), rows))


def produce(recipe: Recipe, config: FiguresConfig) -> list[pathlib.Path]:
    """Runs one experiment, draws it and writes its files."""
    scale = scale_of(recipe, config)
    figure, arrays = drawn(recipe, scale, config.workdir)
    path = pathlib.Path(config.workdir) / recipe.name
    described = {"name": recipe.name, "source": recipe.source, "shows": recipe.shows}
    parameters = {"scale": config.scale, "setting": scale.setting, "options": scale.options}
    write_json(f"{path}.json", described | parameters)
    return [*save(figure, path), save_arrays(arrays, path)]


def scale_of(recipe: Recipe, config: FiguresConfig) -> Scale:
    """What the recipe is measured in.

    Raises:
      FileNotFoundError: a folder without images, for a figure that needs some.
      ValueError: changes that are no object of JSON, or not those of this setting.
    """
    scale = recipe.scale(config.scale, config.seed, config.data_dir, config.model)
    if config.setting is None:
        return scale
    if config.name == ALL:
        raise ValueError("--setting changes the size of one figure; give its --name")
    try:
        changes = json.loads(config.setting)
    except ValueError:
        changes = None
    if not isinstance(changes, dict):
        raise ValueError(
            f'--setting={config.setting} is no object of JSON; allowed is one, as {{"steps": 1600}}'
        )
    try:
        return dataclasses.replace(scale, setting=changed(scale.setting, changes))
    except ValueError as error:
        raise ValueError(f"--setting of {recipe.name}: {error}") from None


def select(name: str) -> list[Recipe]:
    """The figure of that name, or all of them."""
    recipes = registry()
    if name != ALL and name not in recipes:
        raise ValueError(f"--name={name} is no figure; allowed are all and {', '.join(recipes)}")
    return list(recipes.values()) if name == ALL else [recipes[name]]
