"""Claims: adapters of one task after another, which orthogonal factors keep apart.

Legend: tasks j = 1, 2 with inputs X_j (d, n) and adapters B_j A_j (m, d), rank r; P the projector
on the rows of A_1. O-LoRA asks for A_2 A_1^T = 0. What task 1 loses is B_2 A_2 X_1.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm, orthogonal

OUTPUTS, INPUTS, SAMPLES, RANK = 4, 8, 6, 2
EPS = np.finfo(np.float64).eps


class Tasks(NamedTuple):
    """inputs X_1 (n, 8, 6); rows A_1 and A_2 (n, 2, 8), orthonormal; b B_2 (n, 4, 2)."""

    inputs: np.ndarray
    first: np.ndarray
    second: np.ndarray
    b: np.ndarray


def draw_tasks(key, trials: int) -> Tasks:
    """Inputs of task 1 are near the rows of A_1, as far off as 1e-3 to 1; A_2 is any.

    Example:
      >>> import jax
      >>> draw_tasks(jax.random.key(0), 2).second.shape
      (2, 2, 8)
    """
    rng = generator(key)
    first, second = orthogonal(rng, 2, trials, RANK, INPUTS)
    off = 10 ** rng.uniform(-3, 0, (trials, 1, 1)) * rng.standard_normal((trials, INPUTS, SAMPLES))
    inputs = first.mT @ rng.standard_normal((trials, RANK, SAMPLES)) + off
    return Tasks(inputs, first, second, rng.standard_normal((trials, OUTPUTS, RANK)))


def _projected(tasks: Tasks, constrained: bool) -> np.ndarray:
    """A_2 on the complement of A_1, or as it is."""
    return tasks.second - constrained * tasks.second @ tasks.first.mT @ tasks.first


def _forgotten(tasks: Tasks, constrained: bool = True) -> Evidence:
    second = _projected(tasks, constrained)
    outside = tasks.inputs - tasks.first.mT @ (tasks.first @ tasks.inputs)
    return Evidence(
        norm(tasks.b @ second @ tasks.inputs), norm(tasks.b @ second, 2) * norm(outside)
    )


def _merged(tasks: Tasks, constrained: bool = True) -> Evidence:
    """The energy of both adapters' sum against that of each, B_1 = B_2."""
    second = _projected(tasks, constrained)
    own, other = tasks.b @ tasks.first, tasks.b @ second
    both = norm(own + other) ** 2
    return Evidence(np.abs(both - norm(own) ** 2 - norm(other) ** 2), 100 * EPS * both)


_SOURCE = "arXiv 2310.14152 (O-LoRA), named in arXiv 2505.22602, related work"

CLAIMS = (
    Claim(
        name="relatives.forgetting",
        source=_SOURCE,
        statement="With rows orthogonal to those of the first task's adapter the second changes "
        "its outputs by what its inputs have outside them, and no more: nothing if the first "
        "adapter sees all of its inputs, as one that starts from the gradient does.",
        formula="||B_2 A_2 X_1|| <= ||B_2 A_2||_2 ||(I - P) X_1|| for A_2 A_1^T = 0",
        kind="upper",
        status="new",
        instances=draw_tasks,
        measure=_forgotten,
        control=Control("no constraint", functools.partial(_forgotten, constrained=False)),
    ),
    Claim(
        name="relatives.orthogonal_merge",
        source=_SOURCE,
        statement="Adapters with orthogonal rows merge without interference: their energies add "
        "up, whatever the other factors.",
        formula="||B_1 A_1 + B_2 A_2||^2 = ||B_1 A_1||^2 + ||B_2 A_2||^2 for A_2 A_1^T = 0",
        kind="identity",
        status="new",
        instances=draw_tasks,
        measure=_merged,
        control=Control("no constraint", functools.partial(_merged, constrained=False)),
    ),
)
