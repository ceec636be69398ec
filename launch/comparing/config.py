"""The flags of `python -m launch.compare`, beside those of launch.train."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from finetune.methods import NAMES
from launch.comparing import presets
from launch.comparing.grid import Grid, given
from launch.shell import app
from launch.shell.recipe_files import resolved
from rankwise import checks
from rankwise.options import option

SEARCH = ("heldout", "evaluation")
OF_RUNS = ("seeds", "learning_rates", "search_on", "halvings", "budget")
"""Flags of runs."""


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """What is compared."""

    GROUP = "comparison"

    preset: str | None = option(
        None, "file with tasks, methods and published numbers to compare with", path=True
    )
    tasks: tuple[str, ...] = option(
        (), "files of launch.train's flags, one per task; by default those of --preset", path=True
    )
    methods: tuple[str, ...] = option(
        (),
        "methods by name, or files of launch.train's flags with one method each; by default those "
        "of --preset",
        path=True,
    )
    seeds: tuple[str, ...] = option(
        ("0",), "seeds, one run each, of the adapter, of dropout and of the order of the rows"
    )
    learning_rates: tuple[str, ...] = option(
        (), "learning rates, of which every method on every task gets its best; by default its own"
    )
    search_on: str = option(
        "heldout",
        "rows that learning rates are compared on: training rows held out, or those reported",
        SEARCH,
    )
    halvings: int = option(
        0,
        "times that the search keeps the better half of the learning rates, its runs doubling in "
        "steps until they are whole ones; 0 tries every rate in a whole run",
        lower=0,
    )
    budget: int | None = option(
        None,
        "components of all modules together, the same for every method; by default as the files "
        "of --methods say",
    )
    join: tuple[str, ...] = option(
        (),
        "compare.json files, or folders with one, whose runs stand in the table too, before those "
        "of this command; without --tasks and --methods they are the whole table",
        path=True,
    )
    workdir: str | None = option(
        None, "folder of the runs and the table; has to be given", path=True
    )

    def __post_init__(self):
        if self.workdir is None:
            raise ValueError("--workdir is needed")
        self.grid()
        _once("join", list(self.join))

    @property
    def joins_only(self) -> bool:
        """Whether nothing is run."""
        return bool(self.join) and not (self.tasks or self.methods or self.preset)

    def chosen(self) -> presets.Preset:
        """The preset, or an empty one."""
        return presets.EMPTY if self.preset is None else presets.read(self.preset)

    def grid(self) -> Grid:
        """What is compared."""
        preset = self.chosen()
        tasks, methods = self.tasks or preset.tasks, self.methods or preset.methods
        for name, values in (("tasks", tasks), ("methods", methods), ("seeds", self.seeds)):
            if not values and not self.joins_only:
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
            given(),
            self.halvings,
        )


def require_read(grid: Grid) -> None:
    """Refuses flags of one run that every run here has of its own.

    Raises:
      ValueError: naming the flag to use in its place.
    """
    if not grid.tasks:
        for flag in (*grid.given, *app.given(OF_RUNS, without=())):
            raise ValueError(
                f"{flag} has no effect with --join alone; allowed is it with --tasks and --methods"
            )
    instead = {"task": "tasks", "method": "methods", "seed": "seeds"}
    if grid.rates:
        instead["learning_rate"] = "learning_rates"
    for name, plural in instead.items():
        for flag in app.given((name,), without=()):
            raise ValueError(f"{flag} has no effect beside --{plural}; allowed is --{plural}")
    if len(grid.rates) < 2:
        for flag in app.given(("search_on", "halvings"), without=()):
            raise ValueError(
                f"{flag} has no effect with {len(grid.rates)} --learning_rates; allowed are "
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
