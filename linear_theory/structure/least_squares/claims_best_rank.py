"""Claims: the best approximation of rank r, by alternating steps and under a change of metric.

Legend: as in `least_squares`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, squared_norm, with_values
from linear_theory.structure.least_squares import theory as ls

ROWS, COLUMNS, RANK, SAMPLES = 7, 6, 3, 10
EPS = np.finfo(np.float64).eps


class Table(NamedTuple):
    """Phi (n, 7, 6), its singular values (n, 6), a Gaussian A (n, 3, 6)."""

    target: np.ndarray
    values: np.ndarray
    start: np.ndarray


def draw_tables(key, trials: int, rank: int = RANK, gap=(0.2, 0.9)) -> Table:
    """Matrices whose values fall by random ratios, and a Gaussian start of that rank.

    Example:
      >>> import jax
      >>> draw_tables(jax.random.key(0), 2).start.shape
      (2, 3, 6)
    """
    rng = generator(key)
    values = np.cumprod(rng.uniform(*gap, (trials, COLUMNS)), axis=1)
    target = with_values(rng, values, ROWS, COLUMNS)
    return Table(target, values, rng.standard_normal((trials, rank, COLUMNS)))


def _tail(table: Table, rank: int) -> np.ndarray:
    return np.sum(table.values[:, rank:] ** 2, axis=1)


def _eckart_young(table: Table, shift: int = 0) -> Evidence:
    """The error after 0 to 4 sweeps: from a random matrix of rank r to nearly the best one."""
    rank = table.start.shape[1]
    measured = [
        squared_norm(table.target - np.matmul(*ls.alternate(table.target, table.start, sweeps)))
        for sweeps in range(5)
    ]
    return Evidence(np.stack(measured, axis=1), _tail(table, rank - shift)[:, None])


def _alternating(table: Table, extra: int = 0) -> Evidence:
    rank = table.start.shape[1]
    angle = ls.tangent(table.target, table.start)
    measured, bound = [], []
    for sweeps in range(1, 5):
        product = np.matmul(*ls.alternate(table.target, table.start, sweeps))
        measured.append(squared_norm(table.target - product) - _tail(table, rank))
        bound.append(ls.alternating_excess(table.values, rank, angle, sweeps + extra))
    return Evidence(np.stack(measured, axis=1), np.stack(bound, axis=1))


class Regression(NamedTuple):
    """X (n, 6, 10) of condition up to 30, Y (n, 7, 10), differences of two models from Phi."""

    inputs: np.ndarray
    targets: np.ndarray
    changes: np.ndarray


def draw_regressions(key, trials: int) -> Regression:
    """Inputs with values in (0.1, 3), Gaussian targets.

    Example:
      >>> import jax
      >>> draw_regressions(jax.random.key(0), 2).inputs.shape
      (2, 6, 10)
    """
    rng = generator(key)
    inputs = with_values(rng, rng.uniform(0.1, 3, (trials, COLUMNS)), COLUMNS, SAMPLES)
    targets = rng.standard_normal((trials, ROWS, SAMPLES))
    return Regression(inputs, targets, rng.standard_normal((trials, 2, ROWS, COLUMNS)))


def _minimiser(data: Regression) -> np.ndarray:
    return data.targets @ np.linalg.pinv(data.inputs)


def _rounding(data: Regression) -> np.ndarray:
    """Of sums of some ten products; a pseudo-inverse loses the condition number of X."""
    return 10 * EPS * np.linalg.cond(data.inputs)


def _whitening(data: Regression, whitened: bool = True) -> Evidence:
    """Differences of the loss between two models, in which the constant drops out."""
    target = _minimiser(data)
    gram = data.inputs @ data.inputs.mT
    if not whitened:  # the best multiple of the identity
        gram = np.trace(gram, axis1=1, axis2=2)[:, None, None] / COLUMNS * np.eye(COLUMNS)
    models = target + np.swapaxes(data.changes, 0, 1)
    loss = squared_norm(models @ data.inputs - data.targets)
    other = np.asarray(ls.whitened_loss(models, target, gram))
    error = np.abs((loss[0] - loss[1]) - (other[0] - other[1]))
    return Evidence(error, _rounding(data) * loss.sum(axis=0))


def _best_of_rank(data: Regression, whiten: bool = True) -> Evidence:
    model = ls.best_of_rank(data.inputs, data.targets, RANK, whiten)
    right = np.linalg.svd(data.inputs, full_matrices=False)[2]
    values = np.linalg.svd(data.targets @ right.mT, compute_uv=False)
    inside = np.sum(values[:, RANK:] ** 2, axis=1)
    least = inside + squared_norm(data.targets) - np.sum(values**2, axis=1)
    loss = squared_norm(model @ data.inputs - data.targets)
    return Evidence(np.abs(loss - least), _rounding(data) * squared_norm(data.targets))


draw_leading = functools.partial(draw_tables, rank=1, gap=(0.2, 0.5))

SOURCE = "arXiv 2503.19859"


def _pca(data: Regression, whiten: bool = True) -> Evidence:
    """The distance of the best map of X to itself from the projector on its leading directions."""
    found = ls.best_of_rank(data.inputs, data.inputs, RANK, whiten)
    u, values, _ = np.linalg.svd(data.inputs, full_matrices=False)
    left = u[:, :, :RANK]
    error = np.linalg.norm(found - left @ left.mT, axis=(1, 2))
    # Two decompositions, each of which rounding turns by itself over the gap at the rank.
    turn = 2 * values[:, 0] / (values[:, RANK - 1] - values[:, RANK])
    return Evidence(error, _rounding(data) * turn)


CLAIMS = (
    Claim(
        name="least_squares.eckart_young",
        source=f"{SOURCE}, theorem 1",
        statement="No matrix of rank r is nearer than the energy of the tail.",
        formula="||Phi - B A||^2 >= sum_{i>r} s_i^2",
        kind="lower",
        status="as printed",
        instances=draw_tables,
        measure=_eckart_young,
        control=Control("the tail from i = r", functools.partial(_eckart_young, shift=1)),
    ),
    Claim(
        name="least_squares.alternating",
        source="proved in least_squares.alternating_excess",
        statement="Alternating least squares comes to the tail at a rate set by the gap after r.",
        formula="||Phi - B A||^2 - sum_{i>r} s_i^2 <= sum_{i<=r} s_i^2 x/(1+x), "
        "x = (s_{r+1}/s_r)^{4T} tan^2",
        kind="upper",
        status="with a condition",
        instances=draw_tables,
        measure=_alternating,
        control=Control("one sweep more", functools.partial(_alternating, extra=1), draw_leading),
    ),
    Claim(
        name="least_squares.pca",
        source="arXiv 2605.10741: Y = X reduces to principal components; proved by (5)",
        statement="With Y = X the best map of rank r is the projector on the leading principal "
        "directions, so parallel deflation of such data is parallel principal components.",
        formula="argmin_{rank r} ||X - W X|| = U_r U_r^T, X = U D V^T",
        kind="identity",
        status="as printed",
        instances=draw_regressions,
        measure=_pca,
        control=Control("without whitening", functools.partial(_pca, whiten=False)),
    ),
    Claim(
        name="least_squares.whitening",
        source=f"{SOURCE}, (5) and (6)",
        statement="The loss is a distance of weights after whitening, up to a constant.",
        formula="||W X - Y||^2 = ||(W - Phi) (X X^T)^{1/2}||^2 + const",
        kind="identity",
        status="with a condition",
        instances=draw_regressions,
        measure=_whitening,
        control=Control(
            "as printed, ||W - Phi||^2 up to a factor, X X^T != c I",
            functools.partial(_whitening, whitened=False),
        ),
    ),
    Claim(
        name="least_squares.best_of_rank",
        source=f"{SOURCE}, (5) and (6)",
        statement="Under a constraint on the rank the minimiser is that of the whitened matrix.",
        formula="min over rank(W) <= r of ||W X - Y||^2 at [Phi S^{1/2}]_r S^{-1/2}, S = X X^T",
        kind="identity",
        status="with a condition",
        instances=draw_regressions,
        measure=_best_of_rank,
        control=Control(
            "[Phi]_r, the minimiser of (6)", functools.partial(_best_of_rank, whiten=False)
        ),
    ),
)
