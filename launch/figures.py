"""Run the experiments behind the figures and draw them.

python -m launch.figures                                      all, in a size that takes seconds
python -m launch.figures --name=best_rank --scale=paper --workdir=runs/paper
python -m launch.figures --name=vision_order --scale=paper --data_dir=data/images
python -m launch.figures --list                               what there is to draw

The figures vision_* and survey_* train networks, on the images in --data_dir or else on
scikit-learn's digits; of vision_* every finished seed is kept in the folder and not run again.
survey_factor_rates and survey_deep_lora adapt the BERT in --model where --data_dir has STS-B.
pretraining reads the text files and tables in --data_dir (or that file), else Python's help texts.

Writes for every figure NAME.png, NAME.svg, NAME.npz (the arrays that it shows) and NAME.json (the
setting that they were measured in).
"""

from __future__ import annotations

import dataclasses
import pathlib
import time

from absl import flags

from launch.evidence.sources import Recipe, drawn, registry, sized
from launch.shell import app, earlier
from launch.shell.locks import one_writer
from launch.shell.outputs import Workdir
from launch.shell.path_flags import define_path
from launch.shell.tables import table
from linear_theory.figures import SCALES, save, save_arrays
from rankwise.files import write_json

ALL = "all"
LISTED = ("name", "source", "shows")


@dataclasses.dataclass(frozen=True)
class FiguresConfig:
    """The flags of `python -m launch.figures`."""

    name: str
    list: bool
    scale: str
    seed: int | None
    data_dir: str | None
    model: str | None
    workdir: str


def define_flags() -> None:
    """One flag per field of `FiguresConfig`."""
    flags.DEFINE_string("name", ALL, "a figure, or all")
    flags.DEFINE_bool("list", False, "print the figures and draw nothing")
    flags.DEFINE_enum("scale", "quick", SCALES, "a size that takes seconds, or the published one")
    flags.DEFINE_integer(
        "seed", None, "of all randomness; each figure's own if left out", 0, 2**32 - 1
    )
    define_path(
        "data_dir",
        None,
        "folder with MNIST, CIFAR-10, CIFAR-100 or STS-B, else digits; for pretraining: text",
    )
    define_path("model", None, "folder of a BERT, for the figures of survey_* that take it")
    define_path("workdir", "runs/figures", "folder for the files, made if missing")


def main(config: FiguresConfig) -> None:
    """Draws what was asked for, or lists it."""
    chosen = select(config.name)
    if config.list:
        print(table(LISTED, [[getattr(recipe, name) for name in LISTED] for recipe in chosen]))
        return
    for recipe in chosen:  # what is refused is refused before anything runs
        sized(recipe, config.scale, config.seed, config.data_dir, config.model)
    with one_writer(config.workdir):
        earlier.require_own(config.workdir, config)
        written(chosen, config)


def written(chosen: list[Recipe], config: FiguresConfig) -> None:
    """Measures and draws figures, one after the other."""
    workdir = Workdir(config.workdir, config)
    rows = []
    for recipe in app.progress(chosen, len(chosen), "figures"):
        started = time.perf_counter()
        files = produce(recipe, config)
        rows.append((recipe.name, round(time.perf_counter() - started, 1), files[0]))
        workdir.metric({"figure": recipe.name, "seconds": rows[-1][1]})
    workdir.result({"figures": [row[0] for row in rows], "seconds": sum(row[1] for row in rows)})
    print(table(("figure", "seconds", "file"), rows))


def produce(recipe: Recipe, config: FiguresConfig) -> list[pathlib.Path]:
    """Runs one experiment, draws it and writes its files."""
    scale = sized(recipe, config.scale, config.seed, config.data_dir, config.model)
    figure, arrays = drawn(recipe, scale, config.workdir)
    path = pathlib.Path(config.workdir) / recipe.name
    described = {"name": recipe.name, "source": recipe.source, "shows": recipe.shows}
    parameters = {"scale": config.scale, "setting": scale.setting, "options": scale.options}
    write_json(f"{path}.json", described | parameters)
    return [*save(figure, path), save_arrays(arrays, path)]


def select(name: str) -> list[Recipe]:
    """The figure of that name, or all of them."""
    found = registry()
    if name != ALL and name not in found:
        raise ValueError(f"--name={name} is no figure; allowed are all and {', '.join(found)}")
    return list(found.values()) if name == ALL else [found[name]]


if __name__ == "__main__":
    app.run(main, define_flags, FiguresConfig)
