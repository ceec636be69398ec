"""Recorded runs of the solvers: what every round leaves, and the exact components beside it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from deflation import Components, Regression, State, exact, step


def trajectory(state: State, rounds: int, measure: Callable[[State, State], Any]):
    """`rounds` rounds from `state`: the state after them, and measure(before, after) of each.

    The measurements are stacked along a first axis of length `rounds`.
    """

    def body(before, _):
        after = step(before)
        return after, measure(before, after)

    return jax.lax.scan(body, state, None, length=rounds)


@functools.partial(jax.jit, static_argnums=1)
def reference(problem: Regression, rank: int) -> Components:
    """The exact components R*_k, in whitened coordinates."""
    return problem.to_whitened(exact(problem, rank, certify=False).components)
