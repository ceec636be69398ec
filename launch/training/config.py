"""The flags of `python -m launch.train`, their record, and what the libraries make of it.

A flag that is None leaves the choice to the code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from absl import flags

from finetune.methods import NAMES, OPTIONS, MethodConfig
from finetune.optimiser import OPTIMISERS, SCHEDULES, OptimiserConfig
from finetune.training.devices import parse, rows
from finetune.training.loop import LoopConfig
from finetune.training.step import StepConfig
from launch.shell import app, distributed, help_page
from launch.shell.path_flags import define_path
from launch.training import problem
from launch.training.problem import ProblemConfig

EPOCHS = 10
PLAIN = ("full", "head", "lora", "rslora", "loraplus", "dora", "pissa", "sequential")
"""Methods with the plain optimiser, which may restart; others keep moments in ways of their own."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(ProblemConfig):
    """One field per flag; see `define_flags`."""

    modules: str | None
    method: str
    method_options: dict[str, Any] = dataclasses.field(metadata=app.group(OPTIONS))
    optimiser: str
    learning_rate: float
    head_learning_rate: float | None
    schedule: str
    warmup: float
    weight_decay: float
    clip: float
    dropout: bool
    adapter_dropout: float
    steps: int | None
    epochs: float | None
    batch_size: int
    accumulate: int
    seed: int
    evaluate_every: int | None
    checkpoint_every: int | None
    log_every: int
    eval_batch_size: int
    remat: bool
    mesh: list[str]
    distributed: str | None
    workdir: str | None
    renew_every: int | None = None  # runs of earlier versions lack it
    overwrite: bool = False

    def __post_init__(self):
        if self.steps is not None and self.epochs is not None:
            raise ValueError("--steps and --epochs are two ways to say the same; give one of them")
        devices = rows(parse(self.mesh))
        for name, parts in (("batch_size", self.accumulate), ("eval_batch_size", 1)):
            if getattr(self, name) % (parts * devices):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; allowed are multiples of {parts * devices}, "
                    f"--accumulate={parts} times {devices} devices along data and shard"
                )
        # Before data and model are loaded.
        self.method_config(), self.optimiser_config()
        for name in ("modules", "adapter_dropout"):
            if self.method in ("full", "head", "untouched") and getattr(self, name):
                raise ValueError(f"--{name} is for adapters; --method={self.method} has none")
        if self.renew_every is not None and self.method not in PLAIN:
            raise ValueError(
                f"--renew_every is {self.renew_every} with --method={self.method}; "
                f"allowed are the methods {', '.join(PLAIN)}, whose optimiser is the plain one"
            )
        if self.method == "full" and self.head_learning_rate:
            raise ValueError("--head_learning_rate is for heads; --method=full trains all at one")

    def method_config(self) -> MethodConfig:
        """How it is learnt."""
        return MethodConfig(
            self.method,
            **{
                name: _numbers(name, value) if OPTIONS[name].kind is tuple else value
                for name, value in self.method_options.items()
            },
        )

    def optimiser_config(self, head: bool = False) -> OptimiserConfig:
        """The optimiser of the adapter, or of the head."""
        names = [f.name for f in dataclasses.fields(OptimiserConfig) if hasattr(self, f.name)]
        chosen = OptimiserConfig(name=self.optimiser, **{n: getattr(self, n) for n in names})
        rate = self.head_learning_rate
        return dataclasses.replace(chosen, learning_rate=rate) if head and rate else chosen

    def step_config(self) -> StepConfig:
        """One step."""
        return StepConfig(self.clip, self.accumulate, self.dropout, self.adapter_dropout)

    def loop_config(self, per_epoch: int) -> LoopConfig:
        """The run; about ten evaluations and checkpoints unless told otherwise."""
        epochs = EPOCHS if self.epochs is None else self.epochs
        steps = self.steps or max(round(epochs * per_epoch), 1)
        tenth = max(steps // 10, 1)
        return LoopConfig(
            steps=steps,
            evaluate_every=self.evaluate_every or tenth,
            checkpoint_every=self.checkpoint_every or tenth,
            **{n: getattr(self, n) for n in ("batch_size", "seed", "log_every", "eval_batch_size")},
        )


def _numbers(name: str, entries: Iterable[Any]) -> tuple[float, ...]:
    try:
        return tuple(float(entry) for entry in entries)
    except ValueError:
        raise ValueError(f"{name} is {','.join(entries)}; allowed are numbers") from None


DEFINE = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define_flags() -> None:
    """The flags, in the order of `TrainConfig`."""
    problem.define_flags()
    with help_page.group("method"):
        _of_method()
    with help_page.group(help_page.METHODS):
        _of_options()
    with help_page.group("optimiser"):
        _of_optimiser()
    with help_page.group("run"):
        _of_run()


def _of_method() -> None:
    flags.DEFINE_string("modules", None, "pattern of adapted modules; else all but head and pooler")
    flags.DEFINE_enum("method", "adapad", NAMES, "how it is learnt")


def _of_options() -> None:
    for one in OPTIONS.values():
        if one.choices:
            flags.DEFINE_enum(one.name, None, one.choices, one.text)
        else:
            DEFINE[one.kind](one.name, None, one.text)
        flags.FLAGS[one.name].texts = one.texts


def _of_optimiser() -> None:
    flags.DEFINE_enum("optimiser", "adamw", OPTIMISERS, "of adapters and head")
    flags.DEFINE_float("learning_rate", 3e-3, "the largest one", lower_bound=0)
    flags.DEFINE_float("head_learning_rate", None, "of the head, else the same", lower_bound=0)
    flags.DEFINE_enum("schedule", "linear", SCHEDULES, "of the learning rate")
    flags.DEFINE_float("warmup", 0.06, "steps, or below 1 a share of them", lower_bound=0)
    flags.DEFINE_integer(
        "renew_every", None, "steps after which moments and schedule begin anew", lower_bound=1
    )
    flags.DEFINE_float("weight_decay", 0.0, "decoupled", lower_bound=0)
    flags.DEFINE_float("clip", 1.0, "largest gradient norm, 0 for none", lower_bound=0)
    flags.DEFINE_bool("dropout", True, "use the model's own dropout")
    flags.DEFINE_float("adapter_dropout", 0.0, "on the input of adapters", 0, 0.99)


def _of_run() -> None:
    flags.DEFINE_integer("steps", None, "optimiser steps", lower_bound=1)
    flags.DEFINE_float("epochs", None, "instead of --steps; 10", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "rows per step", lower_bound=1)
    flags.DEFINE_integer("accumulate", 1, "parts that a batch is cut into", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of adapters, dropout and order", 0, 2**32 - 1)
    flags.DEFINE_integer("evaluate_every", None, "steps; a tenth of the run", lower_bound=1)
    flags.DEFINE_integer("checkpoint_every", None, "steps; a tenth of the run", lower_bound=1)
    flags.DEFINE_integer("log_every", 10, "steps", lower_bound=1)
    flags.DEFINE_integer("eval_batch_size", 128, "rows per pass", lower_bound=1)
    flags.DEFINE_bool("remat", False, "compute layers again for the gradient: takes less memory")
    flags.DEFINE_list("mesh", [], "devices, as level:2,data:2 or shard:4; else one")
    flags.DEFINE_string("distributed", None, f"join other processes: {distributed.ALLOWED}")
    define_path("workdir", None, "folder for adapter, curves, checkpoints and result")
    flags.DEFINE_bool("overwrite", False, "start anew: delete the files of a run in --workdir")
