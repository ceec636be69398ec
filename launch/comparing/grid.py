"""The runs of a comparison: which flags each of them has, and where it lies.

A task is a file of `launch.train`'s flags; a method is such a file or a method's name. Flags given
on the command line hold for every run.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import NamedTuple

from absl import flags

from finetune.methods import NAMES, OPTIONS
from launch.shell import app, config_flags, flagfiles
from launch.training import problem
from launch.training.config import EPOCHS, IDLE, TrainConfig

BUDGET = "budget"


class Cell(NamedTuple):
    """One task with one method: its runs.

    Attributes:
      task, method: names, of the file or of the method.
      search: rungs of a search, the shortest runs first, each rate -> the run that tries it; () if
        there is nothing to choose. Of a rung's rates the better half goes on to the next.
      final: (seed, rate) -> the run that is reported; rate None where it is not searched.
    """

    task: str
    method: str
    search: tuple[dict[float, TrainConfig], ...]
    final: dict[tuple[int, float | None], TrainConfig]


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is compared.

    Attributes:
      tasks: files of flags.
      methods: files of flags, or names of methods.
      seeds: of the reported runs; the first is that of the search.
      rates: learning rates to choose from, for every cell by itself; () leaves the recipe's.
      budget: components of all modules together; every method spends as many, but what is trained
        whole, and the methods in `unmatched`.
      held_out: rates are chosen on held-out training rows, else on the rows that are reported.
      folder: of the runs.
      unmatched: methods of a published table that keep the ranks of their own files.
      given: flags of `launch.train` that hold for every run, as arguments.
      halvings: rungs of the search before the one of whole runs, each of half the next one's steps.
    """

    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    budget: int | None
    held_out: bool
    folder: pathlib.Path
    unmatched: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    halvings: int = 0

    def cells(self) -> list[Cell]:
        """All cells, parsed before anything runs.

        Raises:
          ValueError: a file that is not there, flags that do not go together, a budget that a
            method cannot spend; one line that names task and method.
        """
        values = flagfiles.unparsed()
        return [self._cell(values, task, method) for task in self.tasks for method in self.methods]

    def _cell(self, values: flags.FlagValues, task: str, method: str) -> Cell:
        names = (pathlib.Path(task).stem, pathlib.Path(method).stem)

        def run(folder: str, seed: int, rate: float | None) -> TrainConfig:
            own = [f"--seed={seed}", f"--workdir={self.folder / '.'.join((*names, folder))}"]
            own += [] if rate is None else [f"--learning_rate={rate!r}"]
            return self._parsed(values, task, method, own)

        # What is not trained has no rate to choose.
        searched = len(self.rates) > 1 and method != "untouched"
        if not searched:
            rate = self.rates[0] if self.rates else None
            return Cell(*names, (), {(s, rate): run(str(s), s, rate) for s in self.seeds})
        final = {(s, r): run(f"{s}.{r:g}", s, r) for s in self.seeds for r in self.rates}
        first = self.seeds[0]

        def rung(parts: int) -> dict[float, TrainConfig]:
            if parts > 1:
                whole = {r: run(f"search.{r:g}.{parts}", first, r) for r in self.rates}
                return {rate: _shortened(config, parts) for rate, config in whole.items()}
            if self.held_out:
                return {r: run(f"search.{r:g}", first, r) for r in self.rates}
            return {r: final[first, r] for r in self.rates}  # the reported runs themselves

        rungs = tuple(rung(2**power) for power in range(self.halvings, -1, -1))
        return Cell(*names, rungs, final)

    def _parsed(
        self, values: flags.FlagValues, task: str, method: str, own: list[str]
    ) -> TrainConfig:
        """The flags of one run, `own` beside those of all."""
        chosen = f"--method={method}" if method in NAMES else f"--flagfile={method}"
        arguments = [chosen, *self.given, *own]
        try:
            if "method" not in flagfiles.names([chosen]):
                raise ValueError(f"{method} names no method; it needs a line --method=NAME")
            config = _read(values, task, arguments)
            ranks = config.ranks()
            if self.budget is None or method in self.unmatched:
                return config
            spent = _spent(config, ranks, self.budget, self.given)
            return _read(values, task, [*arguments, *spent])
        except (flags.Error, ValueError) as error:
            raise ValueError(f"{task} with {method}: {error}") from None


def given() -> tuple[str, ...]:
    """Flags of `launch.train` on the command line of `launch.compare`, as arguments."""
    return tuple(app.given(config_flags.names(TrainConfig), without=("workdir", BUDGET)))


def _read(values: flags.FlagValues, task: str, arguments: list[str]) -> TrainConfig:
    values.unparse_flags()
    flagfiles.parse("train", [f"--flagfile={task}"], values)
    own = values["method"].value if values["method"].present else None
    flagfiles.parse("train", arguments, values)
    method = values["method"].value
    # A task's file may be the recipe of one method; its options are not another's, nor has every
    # method a use for what it says of adapters and heads.
    of_task = [*(() if method == own else OPTIONS), *IDLE.get(method, ())]
    if of_task:
        for name in of_task:
            values[name].unparse()
        flagfiles.parse("train", arguments, values)
    return config_flags.parsed(TrainConfig, values)


def _shortened(config: TrainConfig, parts: int) -> TrainConfig:
    """The run with one of so many parts of its steps, its schedule laid out over them."""
    if config.steps is not None:
        return dataclasses.replace(config, steps=max(config.steps // parts, 1))
    epochs = EPOCHS if config.epochs is None else config.epochs
    return dataclasses.replace(config, epochs=epochs / parts)


def _spent(
    config: TrainConfig, ranks: dict[str, int] | None, budget: int, given: tuple[str, ...]
) -> list[str]:
    """Flags with which the method has `budget` components over all modules together."""
    if config.method in OPTIONS[BUDGET].methods:
        return [f"--{BUDGET}={budget}"]
    if config.method not in OPTIONS["rank"].methods:
        return []
    if config.method_options.get("rank") == 0:  # a whole gradient has no components to count
        return []
    if ranks and (spent := sum(ranks.values())) != budget:
        raise ValueError(f"--ranks adds up to {spent} and --{BUDGET} is {budget}; give {spent}")
    for flag in (flag for flag in given if flag.startswith("--rank=")):
        raise ValueError(f"{flag} and --{BUDGET}={budget} both say the rank; give one of them")
    modules = _modules(config.base(), config.revision, config.modules)
    if budget % modules:
        raise ValueError(
            f"budget is {budget}; allowed are multiples of {modules}, the number of modules, "
            f"for method {config.method!r}, whose ranks are all the same"
        )
    return [f"--rank={budget // modules}"]


@functools.cache
def _modules(base: str, revision: str | None, pattern: str | None) -> int:
    return len(problem.shape(base, revision).adapted(pattern))
