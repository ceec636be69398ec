"""The flags of `python -m launch.train`, part by part, and what the libraries make of each.

A flag that is None leaves the choice to the code.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

from finetune.methods import NAMES, OPTIONS, MethodConfig
from finetune.optimiser import OptimiserConfig
from finetune.training.devices import parse, rows
from finetune.training.loop import LoopConfig
from finetune.training.step import StepConfig
from launch.shell import config_flags, distributed
from launch.training.problem_config import ProblemConfig
from rankwise.options import filled, option, option_of

EPOCHS, SCAN = 10, 8
PLAIN = ("full", "head", "lora", "rslora", "loraplus", "dora", "pissa", "sequential")
"""Methods with the plain optimiser, which may restart; others keep moments in ways of their own."""
HEAD_RATE = "head_learning_rate"
IDLE = dict.fromkeys(("full", "head", "untouched"), ("modules", "adapter_dropout", HEAD_RATE))
"""Method -> flags that it has no use for."""
FORMER = {"adapad": {"phase": "parallel", "score": "effective", "private_every": 1}}
"""Method -> defaults that were others once: runs of then do not say them, those of now always."""


@dataclasses.dataclass(frozen=True)
class MethodFlags:
    """How the network is adapted."""

    GROUP = "method"

    modules: str | None = option(
        None,
        "regular expression: adapt the linear maps whose name contains it; by default all but "
        "those of the head and the pooler",
    )
    method: str = option("adapad", "how the network is adapted", NAMES)
    method_options: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata={"options": OPTIONS}
    )

    def method_config(self) -> MethodConfig:
        """The method with its options."""
        return MethodConfig(
            self.method,
            **{
                name: _numbers(name, value) if OPTIONS[name].kind is tuple else value
                for name, value in self.method_options.items()
            },
        )

    def ranks(self) -> dict[str, int] | None:
        """Of --ranks: module path -> rank; None without. A finished run is read without its file.

        Raises:
          ValueError: a file without ranks.
        """
        return self.method_config().settings.given() if "ranks" in self.method_options else None


@dataclasses.dataclass(frozen=True)
class OptimiserFlags:
    """The optimiser of adapter and head."""

    GROUP = "optimiser"

    optimiser: str = option_of(OptimiserConfig, "name")
    learning_rate: float = option_of(OptimiserConfig, "learning_rate", default=3e-3)
    head_learning_rate: float | None = option(
        None, "largest learning rate of the head; by default that of --learning_rate", lower=0
    )
    schedule: str = option_of(OptimiserConfig, "schedule")
    warmup: float = option_of(OptimiserConfig, "warmup")
    renew_every: int | None = option_of(OptimiserConfig, "renew_every")
    weight_decay: float = option_of(OptimiserConfig, "weight_decay")
    clip: float = option_of(OptimiserConfig, "clip")

    def optimiser_config(self, head: bool = False) -> OptimiserConfig:
        """The optimiser of the adapter, or of the head."""
        chosen = filled(OptimiserConfig, self, name=self.optimiser)
        rate = self.head_learning_rate
        return dataclasses.replace(chosen, learning_rate=rate) if head and rate else chosen


@dataclasses.dataclass(frozen=True)
class StepFlags(OptimiserFlags):
    """One step."""

    GROUP = "step"

    batch_size: int = option_of(LoopConfig, "batch_size")
    accumulate: int = option_of(StepConfig, "accumulate")
    dropout: bool = option_of(StepConfig, "dropout")
    adapter_dropout: float = option_of(StepConfig, "adapter_dropout")
    remat: bool = option(
        False, "recompute the layers for the gradient rather than store them: takes less memory"
    )
    scan: int | None = option(
        None,
        "compile one layer in a loop for all that are alike, where at least so many follow each "
        "other, and 0 for never; by default 8, and 0 where the method's state cannot lie together "
        "and would be copied in each step: where --mesh has level, and of increlora and debora, "
        "which deal components out over modules by name, of relora and cola, which draw all "
        "factors anew at once, of rite, which pairs factors by name, of welore, whose ranks "
        "differ from layer to layer, and of loraone with --preconditioned",
        lower=0,
    )

    def step_config(self) -> StepConfig:
        """One step."""
        return filled(StepConfig, self)


@dataclasses.dataclass(frozen=True)
class LoopFlags(StepFlags):
    """The run: its length, and what is done how often."""

    GROUP = "loop"

    steps: int | None = option_of(
        LoopConfig, "steps", default=None, text="optimiser steps; by default those of --epochs"
    )
    epochs: float | None = option(
        None, f"passes over the training rows, in place of --steps; by default {EPOCHS}", lower=0
    )
    seed: int = option_of(
        LoopConfig,
        "seed",
        text="seed of the adapter, of dropout and of the order of the rows",
        upper=config_flags.LARGEST_SEED,
    )
    evaluate_every: int | None = option_of(
        LoopConfig,
        "evaluate_every",
        default=None,
        text="steps between evaluations; by default a tenth of the run",
    )
    checkpoint_every: int | None = option_of(
        LoopConfig,
        "checkpoint_every",
        default=None,
        text="steps between checkpoints; by default a tenth of the run",
    )
    log_every: int = option_of(LoopConfig, "log_every")
    eval_batch_size: int = option_of(LoopConfig, "eval_batch_size")

    def loop_config(self, per_epoch: int) -> LoopConfig:
        """The run; about ten evaluations and checkpoints unless told otherwise."""
        epochs = EPOCHS if self.epochs is None else self.epochs
        steps = self.steps or max(round(epochs * per_epoch), 1)
        tenth = max(steps // 10, 1)
        return filled(
            LoopConfig,
            self,
            steps=steps,
            evaluate_every=self.evaluate_every or tenth,
            checkpoint_every=self.checkpoint_every or tenth,
        )


@dataclasses.dataclass(frozen=True)
class RunFlags:
    """Where a run takes place, and where its files go."""

    GROUP = "run"

    mesh: tuple[str, ...] = option(
        (), "devices along each axis, as level:2,data:2 or shard:4; by default one device"
    )
    distributed: str | None = option(
        None, f"run as several processes: {distributed.ALLOWED}; by default as one"
    )
    workdir: str | None = option(
        None,
        "folder for adapter, curves, checkpoints and result; without it nothing is written",
        path=True,
    )
    overwrite: bool = option(
        False, "start anew: delete the files of an earlier run in --workdir first"
    )

    @functools.cached_property
    def axes(self) -> dict[str, int]:
        """Axis -> devices along it."""
        return parse(self.mesh)


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunFlags, LoopFlags, MethodFlags, ProblemConfig):
    """All parts of a run, one field per flag; the parts in the order of --help are the bases, the
    last one first."""

    def scanned(self) -> int:
        """Least number of layers of which one is traced; 0 for each."""
        together = self.method_config().layerwise and "level" not in self.axes
        by_default = SCAN if together else 0
        return by_default if self.scan is None else self.scan

    def __post_init__(self):
        if self.steps is not None and self.epochs is not None:
            raise ValueError("--steps and --epochs are two ways to say the same; give one of them")
        devices = rows(self.axes)
        for name, parts in (("batch_size", self.accumulate), ("eval_batch_size", 1)):
            if getattr(self, name) % (parts * devices):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; allowed are multiples of {parts * devices}, "
                    f"--accumulate={parts} times {devices} devices along data and shard"
                )
        # Before data and model are loaded.
        method, _ = self.method_config(), self.optimiser_config()
        if "level" in self.axes and getattr(method.settings, "phase", self.method) != "parallel":
            raise ValueError(
                f"mesh has level with --method={self.method}; allowed with --method=parallel, and "
                "adapad with --phase=parallel, whose levels have losses of their own"
            )
        said = {name: getattr(method.settings, name) for name in FORMER.get(self.method, ())}
        object.__setattr__(self, "method_options", {**self.method_options, **said})
        for name in IDLE.get(self.method, ()):
            if getattr(self, name):
                what, does = "adapters", "has none"
                if name == HEAD_RATE:
                    what, does = "heads beside adapters", "has one rate, --learning_rate"
                raise ValueError(f"--{name} is for {what}; --method={self.method} {does}")
        if self.renew_every is not None and self.method not in PLAIN:
            raise ValueError(
                f"--renew_every is {self.renew_every} with --method={self.method}; "
                f"allowed are the methods {', '.join(PLAIN)}, whose optimiser is the plain one"
            )


def _numbers(name: str, entries: Iterable[Any]) -> tuple[float, ...]:
    try:
        return tuple(float(entry) for entry in entries)
    except ValueError:
        raise ValueError(f"{name} is {','.join(entries)}; allowed are numbers") from None
