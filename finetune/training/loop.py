"""The loop: batches in, steps, evaluation, checkpoints and records out. It prints nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from finetune.models.parts.layered import Runs
from finetune.training.checkpoints import Checkpoints
from finetune.training.network import Params
from finetune.training.packing import packed, unpacked
from finetune.training.state import TrainState
from rankwise import checks
from rankwise.options import option

Report = Callable[[dict[str, Any]], None]


class Diverged(ValueError):
    """A loss or gradient that is not finite."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Settings of `fit`, which evaluates, saves and logs at the end of a run in any case."""

    steps: int = option(dataclasses.MISSING, "optimiser steps of the whole run", lower=1)
    batch_size: int = option(32, "number of rows per optimiser step", lower=1)
    seed: int = option(0, "seed of the order of the rows", lower=0)
    evaluate_every: int = option(100, "steps between evaluations", lower=1)
    checkpoint_every: int = option(100, "steps between checkpoints", lower=1)
    log_every: int = option(10, "steps between lines of metrics.jsonl", lower=1)
    eval_batch_size: int = option(128, "rows per forward pass of an evaluation", lower=1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            checks.integer(field.name, getattr(self, field.name), field.metadata["lower"])


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last one.
      scores: metric -> value of the last evaluation.
      best: the best value of the main metric, and `best_step` where it was.
      seconds: of all parts of the run together, compilation included.
    """

    state: TrainState
    scores: dict[str, float]
    best: float
    best_step: int
    seconds: float


def fit(
    step: Callable[..., tuple[TrainState, Mapping[str, jax.Array]]],
    predict: Callable[..., jax.Array],
    state: TrainState,
    params: Params,
    task: Any,
    config: LoopConfig,
    *,
    checkpoints: Checkpoints | None = None,
    extra: dict[str, Any] | None = None,
    report: Report = lambda record: None,
    ranks: Callable[[TrainState], Mapping[str, jax.Array]] | None = None,
    place: Callable[[Mapping[str, Any]], Any] = lambda batch: batch,
    runs: Runs = (),
) -> Outcome:
    """Trains from `state` to `config.steps` steps in all.

    The same state, configuration and devices give bitwise the same result, in one part or several:
    a batch is a function of (seed, step), and nothing else is carried over.

    Args:
      step, predict: compiled, as made by `finetune.training.step`.
      state: a fresh or a restored one.
      params: the base network's parameters; never changed.
      task: a `finetune.tasks.Task`, or what has its attributes, as a `LanguageTask`.
      checkpoints: where to save; None saves nothing.
      extra: what was saved beside a restored state; what is not of the loop stays beside it.
      report: called with every record: step and loss, or scores, or ranks when they changed.
      ranks: state -> path -> rank, for these records.
      place: puts a batch on the devices.
      runs: of a network and a method that allow it, see `finetune.training.packing`.

    Returns:
      The Outcome; `best` is chosen on the evaluation split itself, so it is no held-out score.

    Raises:
      Diverged: a loss or gradient norm that is not finite.
    """
    run = _Run(task, config, checkpoints, report, extra or {})
    split = task.evaluation

    def evaluate(state: TrainState) -> dict[str, float]:
        def forward(batch):
            return predict(state.theta, state.aux, state.head, params, place(batch))

        answers = task.run(forward, split, config.eval_batch_size)
        return task.score(task.predict(answers), task.labels(split))

    state = packed(state, runs, release=True)
    done = int(state.step)
    pending = None
    while done < config.steps:
        batch = place(task.batch("train", config.seed, done, config.batch_size))
        state, metrics = step(state, params, batch)
        # Read one step late, while the device already works on the next.
        if pending is not None:
            run.check(done, pending)
        pending = metrics
        done += 1
        last = done == config.steps
        logs = last or done % config.log_every == 0
        evaluates = last or done % config.evaluate_every == 0
        saves = last or done % config.checkpoint_every == 0
        if not (logs or evaluates or saves):
            continue
        run.check(done, metrics)
        pending = None
        if logs:
            run.log(done, metrics)
        if ranks is not None and (logs or evaluates):
            run.ranked(done, ranks(state))
        if evaluates:
            run.evaluated(done, evaluate(state))
        if saves:
            run.save(done, unpacked(state))
    if checkpoints is not None:
        checkpoints.close()
    if not run.scores:
        run.evaluated(done, evaluate(state))
    return Outcome(unpacked(state), run.scores, run.best, run.best_step, run.seconds())


class _Run:
    """The bookkeeping of `fit`: what is reported, and what is saved beside the state."""

    def __init__(self, task, config: LoopConfig, checkpoints, report: Report, extra):
        self.config, self.checkpoints, self.report = config, checkpoints, report
        self.metric, self.gain = task.metric, task.gain
        self.extra = extra
        self.scores: dict[str, float] = extra.get("scores", {})
        self.best: float = extra.get("best", -task.gain(np.inf))
        self.best_step: int = extra.get("best_step", 0)
        self.shown: dict[str, int] = extra.get("ranks", {})
        self.before: float = extra.get("seconds", 0.0)
        self.started = time.perf_counter()
        self.mark = (None, self.started)

    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started

    def check(self, done: int, metrics) -> None:
        for name in ("loss", "gradient_norm"):
            value = float(metrics[name])
            if not np.isfinite(value):
                raise Diverged(f"{name} is {value} in step {done}; {self._last_good()}")

    def _last_good(self) -> str:
        if self.checkpoints is not None:
            self.checkpoints.close()
            if self.checkpoints.last is not None:
                place = f"step {self.checkpoints.last} in {self.checkpoints.folder}"
                return f"the last good checkpoint is that of {place}"
        return "there is no checkpoint before it; lower the learning rate"

    def log(self, done: int, metrics) -> None:
        now = time.perf_counter()
        before, then = self.mark
        self.mark = (done, now)
        record = {"step": done, **{name: _plain(value) for name, value in metrics.items()}}
        if before is not None:  # the first interval is mostly compilation
            rate = (done - before) * self.config.batch_size / max(now - then, 1e-9)
            record["examples_per_second"] = round(rate, 1)
        self.report(record)

    def ranked(self, done: int, ranks) -> None:
        now = {path: int(rank) for path, rank in jax.device_get(dict(ranks)).items()}
        if now != self.shown:
            self.report({"step": done, "ranks": now})
        self.shown = now

    def evaluated(self, done: int, scores: dict[str, float]) -> None:
        self.scores = scores
        if self.gain(scores[self.metric]) > self.gain(self.best):
            self.best, self.best_step = scores[self.metric], done
        self.report({"step": done, "score": scores[self.metric], "scores": scores})
        # Evaluation is no training: the next rate starts here.
        self.mark = (done, time.perf_counter())

    def save(self, done: int, state: TrainState) -> None:
        if self.checkpoints is None:
            return
        extra = {
            **self.extra,
            "scores": self.scores,
            "best": self.best if np.isfinite(self.best) else None,
            "best_step": self.best_step,
            "ranks": self.shown,
            "seconds": self.seconds(),
        }
        self.checkpoints.save(done, state, {k: v for k, v in extra.items() if v is not None})
        self.mark = (done, time.perf_counter())


def _plain(value) -> float | list[float]:
    value = np.asarray(value)
    return float(value) if value.ndim == 0 else [float(entry) for entry in value]
