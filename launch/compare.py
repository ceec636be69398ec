"""Train every method on every task with every seed, and tabulate scores and costs.

python -m launch.compare --tasks=recipes/minilm/rte.flags,recipes/minilm/mrpc.flags \\
    --methods=lora,dora,recipes/methods/adapad.flags --budget=72 --seeds=0,1,2 \\
    --learning_rates=5e-4,2e-3,8e-3 --workdir=runs/compare --data_dir=data/glue --model=FOLDER

Tasks are files of `launch.train`'s flags, methods such files or names; other flags of that program
hold for every run. With several --learning_rates every method on every task gets the best of them,
found with the first seed on training rows that are held out, or on the reported rows
(--search_on=evaluation, which flatters). --budget is the number of components of all modules
together; without it a --preset has its own, and the ranks that its files of methods say. Each run
has a folder in --workdir, as `launch.train` would have written it. The same command goes on where
it was stopped, and repeats nothing.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from absl import flags

from finetune.methods import NAMES
from launch.comparing import picture as comparison_picture
from launch.comparing import presets
from launch.comparing import table as comparison
from launch.comparing.cells import Runner
from launch.comparing.grid import Grid
from launch.decomposing import pictures
from launch.shell import app, help_page
from launch.shell.locks import one_writer
from launch.shell.path_flags import define_path, define_paths
from launch.shell.recipe_files import resolved
from launch.shell.tables import table
from launch.training import job as training
from launch.training.config import define_flags as define_train_flags
from rankwise import checks
from rankwise.files import write_json, write_text

SEARCH = ("heldout", "evaluation")


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """The flags of `python -m launch.compare`."""

    preset: str | None
    tasks: list[str]
    methods: list[str]
    seeds: list[str]
    learning_rates: list[str]
    search_on: str
    budget: int | None
    workdir: str | None

    def __post_init__(self):
        if self.workdir is None:
            raise ValueError("--workdir is needed")
        self.grid()

    def chosen(self) -> presets.Preset:
        """The preset, or an empty one."""
        return presets.EMPTY if self.preset is None else presets.read(self.preset)

    def grid(self) -> Grid:
        """What is compared."""
        preset = self.chosen()
        tasks, methods = self.tasks or preset.tasks, self.methods or preset.methods
        for name, values in (("tasks", tasks), ("methods", methods), ("seeds", self.seeds)):
            if not values:
                raise ValueError(f"--{name} is empty; allowed is at least one")
        _check_files("tasks", tasks, ())
        _check_files("methods", methods, NAMES)
        seeds = [_number("seeds", seed, int) for seed in self.seeds]
        rates = [_number("learning_rates", rate, float) for rate in self.learning_rates]
        _once("seeds", seeds)
        _once("learning_rates", rates)
        if self.budget is not None:
            checks.integer("budget", self.budget, 1)
        return Grid(
            tuple(tasks),
            tuple(methods),
            tuple(seeds),
            tuple(rates),
            preset.budget if self.budget is None else self.budget,
            self.search_on == "heldout",
            pathlib.Path(self.workdir),
            preset.files if self.budget is None else (),
        )


def define_flags() -> None:
    """One flag per field of `CompareConfig`, and those of `launch.train`."""
    define_train_flags()
    with help_page.group("comparison"):
        _of_grid()
    flags.FLAGS["workdir"].help = "folder of the runs and the table"
    flags.FLAGS["budget"].help = "components of all modules together, for every method"


def _of_grid() -> None:
    define_path("preset", None, "file with tasks, methods and published numbers")
    define_paths("tasks", [], "files of launch.train's flags, one per task")
    define_paths("methods", [], "methods, or files of launch.train's flags with one each")
    flags.DEFINE_list("seeds", ["0"], "seeds of adapters, dropout and order")
    flags.DEFINE_list("learning_rates", [], "to choose from, for every method and task")
    flags.DEFINE_enum("search_on", "heldout", SEARCH, "rows on which they are compared")


def main(config: CompareConfig) -> None:
    """Runs what is missing; writes compare.json, .csv, .md and the picture."""
    grid, preset = config.grid(), config.chosen()
    _require_read(grid)
    with one_writer(config.workdir):
        compared(config, grid, preset)


def compared(config: CompareConfig, grid: Grid, preset: presets.Preset) -> None:
    """Runs the grid in its folder."""
    # All of them first: a mistake in the last file is known before the first run.
    runner = Runner(grid.cells(), grid.held_out)
    records = list(app.progress(runner.records(), runner.total, "runs"))
    records = [record for record in records if not record["search"]]
    rows = comparison.rows(records)
    legend = comparison.LEGEND.format(reference=rows[0][1])
    folder = pathlib.Path(config.workdir)
    write_json(folder / "compare.json", records)
    write_text(folder / "compare.csv", comparison.comma_separated(rows))
    text = comparison.markdown(rows) + f"\n{legend}\n" + preset.markdown(rows)
    write_text(folder / "compare.md", text)
    pictures.write(comparison_picture.scores(records, rows), folder / "compare")
    print(table(comparison.HEADER, rows))
    print(legend + "\n" + preset.text(rows))
    drawn = sorted({name for record in records for name in record.get("drawn", ())})
    if drawn:
        print(training.DRAWN.format(", ".join(drawn)))


def _require_read(grid: Grid) -> None:
    """Refuses flags of one run that every run here has of its own."""
    instead = {"task": "tasks", "method": "methods", "seed": "seeds"}
    if grid.rates:
        instead["learning_rate"] = "learning_rates"
    for name, plural in instead.items():
        for given in app.given((name,), without=()):
            raise ValueError(f"{given} has no effect beside --{plural}; allowed is --{plural}")
    if len(grid.rates) < 2:
        for given in app.given(("search_on",), without=()):
            raise ValueError(
                f"{given} has no effect with {len(grid.rates)} --learning_rates; allowed are "
                "two or more, to choose from"
            )


def _check_files(name: str, paths: Sequence[str], known: Sequence[str]) -> None:
    for path in paths:
        if path not in known and not resolved(path).is_file():
            allowed = ", ".join(["a file of flags", *known])
            raise ValueError(f"--{name} has {path!r}; allowed is {allowed}")
    _once(name, [pathlib.Path(path).stem for path in paths])  # folders and rows go by it


def _once(name: str, values: Sequence) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"--{name} names {value!r} more than once; allowed is once")


def _number(name: str, text: str, kind: type) -> float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"--{name} has {text!r}; allowed are numbers") from None


if __name__ == "__main__":
    app.run(main, define_flags, CompareConfig)
