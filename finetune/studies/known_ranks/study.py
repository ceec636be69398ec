"""Every contender at its best rate on the same problems; each is stored when it is finished."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import time
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from finetune.studies import stored
from finetune.studies.known_ranks.contenders import CONTENDERS
from finetune.studies.known_ranks.teacher import Teacher, TeacherSetting, base, draw
from finetune.studies.known_ranks.training import LOOKS, program
from finetune.training.network import Network
from rankwise import checks
from rankwise.plots.recipe import Progress, silent


@dataclasses.dataclass(frozen=True)
class KnownRanksSetting:
    """The size of the study.

    Attributes:
      teacher: of the problems.
      steps: of a run, a multiple of `LOOKS`.
      most: the largest rank of a module.
      rates: learning rates, of which every contender gets its best.
      search_seeds: of the problems on which that is found, by the mean of the held-out losses.
      seeds: of the problems that are reported.
      contenders: names in `CONTENDERS`.
    """

    teacher: TeacherSetting = dataclasses.field(default_factory=TeacherSetting)
    steps: int = 400
    most: int = 4
    rates: tuple[float, ...] = (5e-3, 1.5e-2, 5e-2, 1.5e-1)
    search_seeds: tuple[int, ...] = (100, 101)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    contenders: tuple[str, ...] = tuple(CONTENDERS)

    def __post_init__(self):
        checks.integer("most", self.most, max(self.teacher.ranks))
        checks.integer("steps", self.steps, LOOKS)
        if self.steps % LOOKS:
            raise ValueError(f"steps is {self.steps}; allowed are multiples of {LOOKS}")
        for name in ("rates", "seeds", "contenders"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; allowed is at least one")
        for name in self.contenders:
            checks.choice("contenders", name, tuple(CONTENDERS))

    @property
    def searching(self) -> tuple[int, ...]:
        """The problems of the search; with one rate there is none."""
        return self.search_seeds if len(self.rates) > 1 else ()

    @property
    def runs(self) -> int:
        """All runs of all contenders."""
        each = len(self.rates) * len(self.searching) + len(self.seeds)
        return each * len(self.contenders)

    def fingerprint(self, contender: str) -> str:
        """Eight digits that differ where the results of a contender would."""
        fields = dataclasses.asdict(self)
        del fields["contenders"]
        if not fields["teacher"]["model"]:  # results of before there was a choice are the same
            del fields["teacher"]["model"]
        method = CONTENDERS[contender]._asdict()
        del method["about"]
        if not method["own_rates"]:  # results of before it was thought of are the same
            del method["own_rates"]
        fields |= {"method": method}
        return f"{zlib.crc32(json.dumps(fields, sort_keys=True).encode()):08x}"


def known_ranks(
    setting: KnownRanksSetting,
    folder: str | os.PathLike | None = None,
    progress: Progress = silent,
) -> dict[str, np.ndarray]:
    """Contenders C on problems S of known ranks, M modules.

    Args:
      folder: where finished contenders are stored, and read; None stores nothing.
      progress: shows the runs.

    Returns:
      contenders (C,), seeds (S,), rates (C,) the best ones, at_edge (C,) whether the best is the
      first or last that was tried, losses (C, S, LOOKS) held-out errors over those of the base,
      ranks and true (C, S, M), steps (C,), and seconds (C,) of the processor per step.

    Example:
      >>> small = TeacherSetting(width=8, layers=1, heads=1, inner=8, ranks=(0, 2), held_out=4)
      >>> setting = KnownRanksSetting(small, LOOKS, rates=(0.01,), seeds=(0,), contenders=("lora",))
      >>> known_ranks(dataclasses.replace(setting, most=2))["ranks"].shape
      (1, 1, 6)
    """
    ticks = progress(range(setting.runs), setting.runs, "runs")
    net, results = base(setting.teacher), []

    @functools.cache
    def problem(seed: int) -> Teacher:
        return draw(setting.teacher, net, jax.random.split(jax.random.key(seed), 4)[0])

    for name in setting.contenders:
        path = None
        if folder is not None:
            path = pathlib.Path(folder) / f"known_ranks-{name}-{setting.fingerprint(name)}.npz"
        result = None if path is None else stored.read(path)
        if result is None:
            result = _measured(setting, net, problem, name, lambda: next(ticks))
            if path is not None:
                stored.write(path, result)
        else:
            for _ in range(setting.runs // len(setting.contenders)):
                next(ticks)
        results.append(result)
    next(ticks, None)  # the line, or the end of the bar, after the last run
    names = {"contenders": np.asarray(setting.contenders), "seeds": np.asarray(setting.seeds)}
    return names | {key: np.stack([one[key] for one in results]) for key in results[0]}


def _measured(
    setting: KnownRanksSetting,
    net: Network,
    problem: Callable[[int], Teacher],
    name: str,
    tick: Callable[[], object],
) -> dict[str, np.ndarray]:
    """The arrays of one contender, without their first axis."""
    contender, paths = CONTENDERS[name], net.adapted()
    budget = int(np.resize(setting.teacher.ranks, len(paths)).sum())
    steps = int(setting.steps * contender.steps)
    config = contender.config(budget, len(paths), setting.most)
    run = program(setting.teacher, net, config, steps, contender.given, contender.own_rates)
    first = problem(setting.seeds[0])
    compiled = jax.jit(run).lower(first, jax.random.key(0), jnp.float32(0)).compile()

    def at(seed: int, rate: float):
        tick()
        return jax.device_get(compiled(problem(seed), jax.random.key(seed), jnp.float32(rate)))

    tried = [[at(seed, rate).losses[-1] for seed in setting.searching] for rate in setting.rates]
    means = [np.mean(losses) if losses else 0.0 for losses in tried]
    best = int(np.argmin(np.nan_to_num(means, nan=np.inf)))  # nan: diverged
    started = time.process_time()
    final = [at(seed, setting.rates[best]) for seed in setting.seeds]
    seconds = (time.process_time() - started) / (steps * len(final))
    return {
        "rates": np.asarray(setting.rates[best]),
        "at_edge": np.asarray(best in (0, len(means) - 1) and len(means) > 1),
        "losses": np.stack([one.losses for one in final]),
        "ranks": np.stack([one.ranks for one in final]),
        "true": np.stack([one.true for one in final]),
        "steps": np.asarray(steps),
        "seconds": np.asarray(seconds),
    }
