"""Run the experiments behind the figures and draw them.

python -m launch.figures                                      all, in a size that takes seconds
python -m launch.figures --name=best_rank --scale=paper --workdir=runs/paper
python -m launch.figures --list                               what there is to draw

Writes for every figure NAME.png, NAME.svg, NAME.npz (the arrays that it shows) and NAME.json (the
setting that they were measured in).
"""

from __future__ import annotations

import dataclasses
import pathlib
import time

from absl import flags

from launch import app
from launch.outputs import Workdir, write_json
from launch.tables import table
from linear_theory.figures import SCALES, Recipe, registry, save, save_arrays

ALL = "all"
LISTED = ("name", "source", "shows")


@dataclasses.dataclass(frozen=True)
class FiguresConfig:
    """The flags of `python -m launch.figures`."""

    name: str
    list: bool
    scale: str
    seed: int | None
    workdir: str


def define_flags() -> None:
    """One flag per field of `FiguresConfig`."""
    flags.DEFINE_string("name", ALL, "a figure, or all")
    flags.DEFINE_bool("list", False, "print the figures and draw nothing")
    flags.DEFINE_enum("scale", "quick", SCALES, "a size that takes seconds, or the published one")
    flags.DEFINE_integer(
        "seed", None, "of all randomness; each figure's own if left out", 0, 2**32 - 1
    )
    flags.DEFINE_string("workdir", "runs/figures", "folder for the files, made if missing")


def main(config: FiguresConfig) -> None:
    """Measures, draws and writes."""
    recipes = select(config.name)
    if config.list:
        print(table(LISTED, [[getattr(recipe, name) for name in LISTED] for recipe in recipes]))
        return
    workdir = Workdir(config.workdir, config)
    rows = []
    for recipe in app.progress(recipes, len(recipes), "figures"):
        started = time.perf_counter()
        files = produce(recipe, config)
        rows.append((recipe.name, round(time.perf_counter() - started, 1), files[0]))
        workdir.metric({"figure": recipe.name, "seconds": rows[-1][1]})
    workdir.result({"figures": [row[0] for row in rows], "seconds": sum(row[1] for row in rows)})
    print(table(("figure", "seconds", "file"), rows))


def produce(recipe: Recipe, config: FiguresConfig) -> list[pathlib.Path]:
    """Runs one experiment, draws it and writes its files."""
    scale = recipe.scale(config.scale, config.seed)
    arrays = recipe.experiment(scale.setting, **scale.options)
    figure = recipe.draw(arrays, scale.setting)
    path = pathlib.Path(config.workdir) / recipe.name
    described = {"name": recipe.name, "source": recipe.source, "shows": recipe.shows}
    parameters = {"scale": config.scale, "setting": scale.setting, "options": scale.options}
    write_json(f"{path}.json", described | parameters)
    return [*save(figure, path), save_arrays(arrays, path)]


def select(name: str) -> list[Recipe]:
    """The figure of that name, or all of them."""
    recipes = registry()
    if name != ALL and name not in recipes:
        raise ValueError(f"--name={name} is no figure; allowed are all and {', '.join(recipes)}")
    return list(recipes.values()) if name == ALL else [recipes[name]]


if __name__ == "__main__":
    app.run(main, define_flags, FiguresConfig)
