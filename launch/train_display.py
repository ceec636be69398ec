"""What a training run shows while it runs: a bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

import tqdm

LINES = 20


class Display:
    """Takes the records of `finetune.training.loop.fit`.

    Args:
      total: steps of the run.
      done: steps of an earlier part of it.
      metric: name of the score.
      shown: False for nothing at all.
    """

    def __init__(self, total: int, done: int, metric: str, shown: bool = True):
        self.total, self.metric = total, metric
        self.values: dict[str, str] = {}
        self.due = done
        self.bar = None
        self.lines = shown and sys.stderr is not None
        if self.lines and sys.stderr.isatty():
            self.bar = tqdm.tqdm(total=total, initial=done, desc="steps", file=sys.stderr)

    def __call__(self, record: dict[str, Any]) -> None:
        """Shows a record."""
        names = {"loss": "loss", "score": self.metric, "examples_per_second": "examples/s"}
        for name, shown in names.items():
            if name in record:
                self.values[shown] = f"{record[name]:.4g}"
        step = record["step"]
        if self.bar is not None:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix(self.values)
        elif self.lines and ("score" in record or (step >= self.due and "loss" in record)):
            self.due = step + self.total // LINES
            text = ", ".join(f"{name} {value}" for name, value in self.values.items())
            print(f"step {step}/{self.total}: {text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
