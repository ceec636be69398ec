"""Learning rates as arguments of the compiled step, so that a search compiles it once."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import optax

from finetune import methods, optimiser
from finetune.training.devices import Devices
from launch.training.config import TrainConfig


class Rated(NamedTuple):
    """A compiled step with its learning rates, of the adapter and of the head.

    Attributes:
      program: (state, (params, rates), batch) -> (state, metrics); runs that differ in nothing but
        their rates share it.
      rates: of `of`.
    """

    program: Any
    rates: tuple[np.float32, np.float32]

    def __call__(self, state, params, batch):
        """(state, metrics), as of `finetune.training.step.train_step`."""
        return self.program(state, (params, self.rates), batch)

    def lower(self, state, params, batch):
        """As of `jax.jit`."""
        return self.program.lower(state, (params, self.rates), batch)


def of(config: TrainConfig) -> tuple[np.float32, np.float32]:
    """The largest learning rates of the run: of the adapter, and of the head."""
    return tuple(np.float32(config.optimiser_config(head).learning_rate) for head in (False, True))


def parts(
    config: TrainConfig, steps: int, places: Devices, rates: tuple[Any, ...]
) -> tuple[methods.Method, optax.GradientTransformation]:
    """The method and the head's optimiser of a run of so many steps; rates may be traced."""
    of_adapter, of_head = (
        dataclasses.replace(config.optimiser_config(head), learning_rate=rate)
        for head, rate in zip((False, True), rates, strict=True)
    )
    method = methods.make(config.method_config(), of_adapter, steps, mesh=places.mesh)
    return method, optimiser.optimiser(of_head, steps)
