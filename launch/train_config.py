"""The flags of `python -m launch.train` as one frozen record, and what the libraries make of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from finetune.methods import OPTIONS, MethodConfig
from finetune.training.devices import parse, rows
from finetune.training.loop import LoopConfig
from finetune.training.optimisers import OptimiserConfig
from finetune.training.step import StepConfig
from launch import app
from launch.problem import ProblemConfig

EPOCHS = 10
PLAIN = ("full", "head", "lora", "rslora", "loraplus", "dora", "pissa", "sequential")
"""Methods with the plain optimiser, which may restart; others keep moments in ways of their own."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(ProblemConfig):
    """One field per flag; see `launch.train_flags`."""

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
