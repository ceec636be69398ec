"""Claims: weight decay on two layers is a nuclear norm under any convex loss of their product.

Legend: as in `regularization`; f(M) = sum_ij log cosh(M_ij - T_ij), which is no squared distance.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, orthogonal, squared_norm
from linear_theory.structure.regularization.instances import COLUMNS, ROWS, SOURCE, WIDTH

RANK = 2


class Solved(NamedTuple):
    """Problems whose minimiser is known.

    Attributes:
      target: T (n, 5, 4). decay: lam (n,). left (n, 5, 2), values (n, 2), right (n, 2, 4): M.
      seed: of what else has to be drawn.
    """

    target: np.ndarray
    decay: np.ndarray
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    seed: int


def draw_solved(key, trials: int) -> Solved:
    """M of rank two, and T for which lam (U V^T + R), ||R||_2 < 1, is minus the slope of f at M.

    Example:
      >>> import jax
      >>> draw_solved(jax.random.key(0), 2).target.shape
      (2, 5, 4)
    """
    rng = generator(key)
    left, right = orthogonal(rng, trials, ROWS, COLUMNS), orthogonal(rng, trials, COLUMNS, COLUMNS)
    values = np.sort(rng.uniform(0.3, 3, (trials, RANK)), axis=1)[:, ::-1]
    decay = rng.uniform(0.1, 0.6, trials)
    slopes = np.concatenate(
        [np.ones((trials, RANK)), rng.uniform(0, 0.95, (trials, COLUMNS - RANK))], axis=1
    )
    slope = decay[:, None, None] * (left * slopes[:, None] @ right)
    left, right = left[..., :RANK], right[:, :RANK]
    # f'(x) = tanh(x - t) is minus the slope.
    target = left * values[:, None] @ right + np.arctanh(slope)
    return Solved(target, decay, left, values, right, int(rng.integers(2**63)))


def _loss(problem: Solved, product: np.ndarray) -> np.ndarray:
    gap = np.abs(product - problem.target)
    return np.sum(gap + np.log1p(np.exp(-2 * gap)) - np.log(2), axis=(1, 2))


def _any_loss(problem: Solved, weight: float = 1.0) -> Evidence:
    """Layers near the balanced ones of M, of width 6, mixed by a rotation."""
    rng = np.random.default_rng(problem.seed)
    count = len(problem.decay)
    root = np.sqrt(problem.values)[:, None]
    mixing = orthogonal(rng, count, RANK, WIDTH)
    second, first = problem.left * root @ mixing, mixing.mT * root @ problem.right
    size = 10 ** rng.uniform(-4, 0, (count, 1, 1))
    second = second + size * rng.standard_normal(second.shape)
    first = first + size * rng.standard_normal(first.shape)
    spent = (squared_norm(first) + squared_norm(second)) / 2
    measured = _loss(problem, second @ first) + problem.decay * spent
    best = _loss(problem, problem.left * problem.values[:, None] @ problem.right)
    return Evidence(measured, best + weight * problem.decay * problem.values.sum(axis=1))


CLAIMS = (
    Claim(
        name="regularization.any_loss",
        source=f"{SOURCE}, (23) to (25) for L = 2",
        statement="Two layers with weight decay under a loss that is not squared: no layers are "
        "below the minimum with the nuclear norm of the product, which balanced ones attain.",
        formula="f(W_2 W_1) + lam/2 sum ||W_l||^2 >= min_M f(M) + lam ||M||_*, "
        "f = sum log cosh(M - T)",
        kind="lower",
        status="with a condition",
        instances=draw_solved,
        measure=_any_loss,
        control=Control("1.1 lam ||M||_*", functools.partial(_any_loss, weight=1.1)),
    ),
)
