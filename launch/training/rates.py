"""Learning rates and their course as arguments of the compiled step: a search of rates, and runs of
other lengths, share one program."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import optax

from finetune import methods, optimiser
from finetune.training.devices import Devices
from launch.training.config import TrainConfig


class Course(NamedTuple):
    """The largest learning rates of adapter and head, and the steps over which they fall."""

    adapter: Any
    head: Any
    steps: Any


class Rated(NamedTuple):
    """A compiled step with the course of its learning rates.

    Attributes:
      program: (state, (params, course), batch) -> (state, metrics); runs that differ in nothing but
        their course share it, in steps only where the method allows it.
      course: of the run.
    """

    program: Any
    course: Course

    def __call__(self, state, params, batch):
        """(state, metrics), as of `finetune.training.step.train_step`."""
        return self.program(state, (params, self.course), batch)

    def lower(self, state, params, batch):
        """As of `jax.jit`."""
        return self.program.lower(state, (params, self.course), batch)


def course(config: TrainConfig, steps: int) -> Course:
    """Of a run of so many steps."""
    rates = (config.optimiser_config(head).learning_rate for head in (False, True))
    return Course(*map(np.float32, rates), np.int32(steps))


def parts(
    config: TrainConfig, places: Devices, given: Course
) -> tuple[methods.Method, optax.GradientTransformation]:
    """The method and the head's optimiser of a run.

    Args:
      given: may be traced, its steps where `config.method_config().scheduled`.
    """
    of_adapter, of_head = (
        dataclasses.replace(config.optimiser_config(head), learning_rate=rate)
        for head, rate in zip((False, True), given[:2], strict=True)
    )
    method = methods.make(config.method_config(), of_adapter, given.steps, mesh=places.mesh)
    return method, optimiser.optimiser(of_head, given.steps)
