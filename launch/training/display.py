"""What a training run shows while it runs: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

import tqdm

from launch.shell.waiting import stage

LINES = 20
QUIET = 5.0  # seconds between the lines of a long evaluation


class Display:
    """Takes the records of `finetune.training.loop.fit`.

    Args:
      total: steps of the run.
      done: steps of an earlier part of it.
      metric: name of the score.
      shown: False for nothing at all.
      name: of the run, where there are several.
    """

    def __init__(self, total: int, done: int, metric: str, shown: bool = True, name: str = ""):
        self.total, self.metric = total, metric
        self.name = f"{name}: " if name else ""
        self.step, self.passes, self.vocabulary_of = done, 0, time.monotonic()
        self.waiting = contextlib.ExitStack()
        if shown:
            self.waiting.enter_context(stage(f"{self.name}compiling, and the first steps"))
        self.values: dict[str, str] = {}
        self.due = done
        self.bar = None
        self.lines = shown and sys.stderr is not None
        if self.lines and sys.stderr.isatty():
            self.bar = tqdm.tqdm(
                total=total, initial=done, desc=f"{self.name}steps", file=sys.stderr
            )

    def __call__(self, record: dict[str, Any]) -> None:
        """Shows a record."""
        self.waiting.close()
        names = {"loss": "loss", "score": self.metric, "examples_per_second": "examples/s"}
        for name, shown in names.items():
            if name in record:
                self.values[shown] = f"{record[name]:.4g}"
        self.step = step = record["step"]
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix(self.values)
        elif self.lines and ("score" in record or (step >= self.due and "loss" in record)):
            self.due = step + self.total // LINES
            text = ", ".join(f"{name} {value}" for name, value in self.values.items())
            self._print(f"step {step}/{self.total}: {text}")

    def watched(self, predict: Callable[..., Any], passes: int) -> Callable[..., Any]:
        """`predict`, counted: an evaluation of many passes says how far it is."""

        def counted(*arguments):
            self.waiting.close()
            done = self.passes % passes
            self.passes += 1
            if self.bar is not None:
                self.bar.set_postfix({**self.values, "evaluating": f"{done}/{passes}"})
            elif self.lines and time.monotonic() - self.vocabulary_of > QUIET:
                self._print(f"step {self.step}/{self.total}: evaluating, {done}/{passes} batches")
            return predict(*arguments)

        return counted

    def _print(self, text: str) -> None:
        self.vocabulary_of = time.monotonic()
        print(f"{self.name}{text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the bar away."""
        self.waiting.close()
        if self.bar is not None:
            self.bar.close()
