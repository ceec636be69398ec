"""Claims: what it saves to begin a decomposition from that of a matrix nearby.

Legend: M' = M + E with singular values s'_k; worker k, behind exact predecessors, begins with the
right singular vector v_k of M and takes alternating steps until the tangent of its angle with v'_k
is at most `ACCURACY`; T_k the distance of s'_k from the other values of M, delta = ||E||_2.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, norm, unit_rows, with_values

ROWS, COLUMNS, RANK, ROUNDS = 6, 8, 3, 80
ACCURACY = 1e-8


class Change(NamedTuple):
    """before M and after M' (n, 6, 8); cold starts (n, 3, 8)."""

    before: np.ndarray
    after: np.ndarray
    cold: np.ndarray


def draw_changes(key, trials: int) -> Change:
    """Ratios of the values of M from .3 to .8; changes of 1e-6 to 1e-2 of its third value.

    Example:
      >>> import jax
      >>> draw_changes(jax.random.key(0), 2).after.shape
      (2, 6, 8)
    """
    rng = generator(key)
    values = falling(rng.uniform(0.3, 0.8, (trials, ROWS - 1)))
    before = with_values(rng, values, ROWS, COLUMNS)
    change = rng.standard_normal(before.shape)
    size = values[:, RANK - 1] * 10 ** rng.uniform(-6, -2, trials) / norm(change, 2)
    cold = unit_rows(rng.standard_normal((trials, RANK, COLUMNS)))
    return Change(before, before + size[:, None, None] * change, cold)


def _rounds(drawn: Change, warm: bool = True) -> Evidence:
    """Of every worker until it is done, against what the change of M allows."""
    left, after, right = np.linalg.svd(drawn.after, full_matrices=False)
    before, old = np.linalg.svd(drawn.before, full_matrices=False)[1:]
    delta = norm(drawn.after - drawn.before, 2)
    rest, counts, bounds = drawn.after, [], []
    for k in range(RANK):
        state = old[:, k] if warm else drawn.cold[:, k]
        done = []
        for _ in range(ROUNDS):
            along = right[:, k:] @ state[:, :, None]
            done.append(norm(along[:, 1:]) <= ACCURACY * np.abs(along[:, 0, 0]))
            state = unit_rows((rest.mT @ (rest @ state[:, :, None]))[:, :, 0])
        counts.append(np.argmax(done, axis=0))
        others = np.delete(before, k, axis=1)
        gap = np.abs(after[:, k, None] - others).min(axis=1)
        tangent = delta / np.sqrt(np.maximum(gap**2 - delta**2, 0))
        rate = (after[:, k + 1] / after[:, k]) ** 2
        bounds.append(np.ceil(np.maximum(0, np.log(tangent / ACCURACY) / -np.log(rate))))
        rest = rest - left[:, :, k, None] * after[:, k, None, None] * right[:, None, k]
    return Evidence(np.stack(counts, axis=1), np.stack(bounds, axis=1))


CLAIMS = (
    Claim(
        name="self_correction.warm_start",
        source="arXiv 2605.10741, section VII: repeated decompositions; derived here with Wedin",
        statement="A decomposition that begins from that of a matrix nearby takes no more rounds "
        "than the change over the gap is above the accuracy, at the rate of the worker: a cold "
        "start takes those for the whole accuracy.",
        formula="rounds <= log(delta/((T_k^2 - delta^2)^{1/2} accuracy)) / (2 log(s'_k/s'_{k+1}))",
        kind="upper",
        status="new",
        instances=draw_changes,
        measure=_rounds,
        control=Control("a cold start", functools.partial(_rounds, warm=False)),
    ),
)
