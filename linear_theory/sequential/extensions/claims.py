"""Claims: what re-optimised, orthogonal and jointly fitted components do to a sequential run.

Legend: M (m, d) with singular values s_k, M_(r) its best approximation of rank r, tau_r the error
of that; R_k = b_k a_k^T = c_k u_k v_k^T the components of an inexact sequential run with r = 3,
S = sum_k R_k; R*_k the exact components.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import (
    falling,
    generator,
    norm,
    squared_norm,
    unit_rows,
    with_values,
)

ROWS, COLUMNS, RANK = 6, 8, 3
ROUNDS = 3  # of re-optimisation
SIZES = (1e-3, 1e-4)  # of errors, for the power by which others follow from them
FIRST = (np.arange(RANK) == 0)[:, None]  # where the first component errs alone
EPS = np.finfo(np.float64).eps
SOURCE = "arXiv 2505.22602, section 7, future work"


class Run(NamedTuple):
    """matrix M (n, 6, 8), values (n, 6); turns of the factors (n, 3, 6) and (n, 3, 8)."""

    matrix: np.ndarray
    values: np.ndarray
    left: np.ndarray
    right: np.ndarray


def draw_runs(key, trials: int, sizes=(1e-3, 0.5), rank: int = ROWS) -> Run:
    """Ratios of the singular values from .3 to .7, those beyond `rank` zero; turns of such sizes.

    Example:
      >>> import jax
      >>> draw_runs(jax.random.key(0), 2).right.shape
      (2, 3, 8)
    """
    rng = generator(key)
    values = falling(rng.uniform(0.3, 0.7, (trials, ROWS - 1))) * (np.arange(ROWS) < rank)
    matrix = with_values(rng, values, ROWS, COLUMNS)
    size = 10 ** rng.uniform(*np.log10(sizes), (trials, RANK, 1))
    turns = (size * unit_rows(rng.standard_normal((trials, RANK, n))) for n in (ROWS, COLUMNS))
    return Run(matrix, values, *turns)


def _top(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The leading singular vectors as columns, (n, m, 1) and (n, d, 1)."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left[:, :, :1], right[:, :1].mT


def _part(matrix: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u (u^T M v) v^T."""
    return u @ (u.mT @ matrix @ v) @ v.mT


def _deflate(run: Run, orthogonal: bool = False) -> np.ndarray:
    """Components (3, n, 6, 8): the best fit of each residual, its factors turned."""
    rest, components, pairs = run.matrix, [], []
    for k in range(RANK):
        pair = [top + turn[:, k, :, None] for top, turn in zip(_top(rest), run[2:], strict=True)]
        for earlier in pairs if orthogonal else ():
            pair = [new - old @ (old.mT @ new) for new, old in zip(pair, earlier, strict=True)]
        pairs.append([unit_rows(side.mT).mT for side in pair])
        components.append(_part(rest, *pairs[-1]))
        rest = rest - components[-1]
    return np.stack(components)


def _refitted(matrix: np.ndarray, components: np.ndarray, at_once: bool = False) -> np.ndarray:
    """Every component once the best fit of what the others leave: in turn, or all at once."""
    renewed = components.copy()
    latest = components if at_once else renewed
    for k in range(RANK):
        own = matrix - latest.sum(axis=0) + latest[k]
        renewed[k] = _part(own, *_top(own))
    return renewed


def _monotone(run: Run, at_once: bool = False) -> Evidence:
    components, errors = _deflate(run), []
    for _ in range(ROUNDS + 1):
        errors.append(norm(run.matrix - components.sum(axis=0)))
        components = _refitted(run.matrix, components, at_once)
    return Evidence(np.stack(errors[1:], axis=1), np.stack(errors[:-1], axis=1))


def _squared(run: Run, refitted: bool = True) -> Evidence:
    """The power of the size of all errors, read off two sizes."""
    left, values, right = np.linalg.svd(run.matrix, full_matrices=False)
    best = left[:, :, :RANK] * values[:, None, :RANK] @ right[:, :RANK]
    errors = []
    for size in SIZES:
        components = _deflate(run._replace(left=size * run.left, right=size * run.right))
        if refitted:
            components = _refitted(run.matrix, components)
        errors.append(norm(components.sum(axis=0) - best))
    return Evidence(measured_power(errors, SIZES), 2.0, tolerance=0.1)


def _sizes(run: Run, orthogonal: bool = True) -> Evidence:
    """c_k, fitted to the residual, against what the same factors explain of M itself."""
    components = _deflate(run, orthogonal)
    alone = np.stack([_part(run.matrix, *_top(part)) for part in components])
    return Evidence(norm(components - alone).T, 1e3 * EPS)


def _floor(run: Run, orthogonal: bool = True) -> Evidence:
    """What the first pair of factors leaves of its own row and column, for good."""
    run = run._replace(left=run.left * FIRST, right=run.right * FIRST)
    components = _deflate(run, orthogonal)
    first = components[0]
    row, column = (norm(_side(run.matrix, first, which)) for which in (0, 1))
    floor = np.sqrt(np.maximum(row**2 + column**2 - 2 * squared_norm(first), 0))
    return Evidence(norm(run.matrix - components.sum(axis=0)), floor)


def _side(matrix: np.ndarray, component: np.ndarray, which: int) -> np.ndarray:
    """u u^T M or M v v^T."""
    u, v = _top(component)
    return matrix @ v @ v.mT if which else u @ (u.mT @ matrix)


def _joint(run: Run, b_alone: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The rows a_k as an orthonormal basis (n, 8, 3), and S after one full-rank step."""
    rows = np.stack([_top(part)[1][:, :, 0] for part in _deflate(run)], axis=2)
    basis = np.linalg.qr(rows)[0]
    b = np.linalg.qr(run.matrix @ basis)[0]
    return basis, run.matrix @ basis @ basis.mT if b_alone else b @ (b.mT @ run.matrix)


def _full_rank(run: Run, angle: bool = True) -> Evidence:
    basis, fitted = _joint(run)
    right = np.linalg.svd(run.matrix, full_matrices=False)[2] @ basis
    inside = right[:, RANK:] @ np.linalg.inv(right[:, :RANK])
    tail = run.values[:, RANK:, None]
    bound = np.sqrt(squared_norm(tail) + angle * squared_norm(tail * inside))
    return Evidence(norm(run.matrix - fitted), bound)


def _full_rank_exact(run: Run, b_alone: bool = False) -> Evidence:
    return Evidence(norm(run.matrix - _joint(run, b_alone)[1]), 1e3 * EPS)


draw_of_rank = functools.partial(draw_runs, rank=RANK)

CLAIMS = (
    Claim(
        name="extensions.reoptimised",
        source=f"{SOURCE}: component re-optimisation",
        statement="Components refitted one after the other, each to what all others leave, never "
        "raise the error, whatever the errors before.",
        formula="||M - S'|| <= ||M - S||, R'_k = best rank-one fit of M - sum_{j<k} R'_j "
        "- sum_{j>k} R_j",
        kind="upper",
        status="new",
        instances=draw_runs,
        measure=_monotone,
        control=Control("all at once", functools.partial(_monotone, at_once=True)),
        figure="extensions",
    ),
    Claim(
        name="extensions.reoptimised_squares",
        source=f"{SOURCE}: component re-optimisation; derived here",
        statement="One such round squares the error of the sum: to first order each component "
        "takes back what the others have in its rows and columns.",
        formula="||S' - M_(r)|| = O(t^2) for errors of size t",
        kind="fit",
        status="new",
        instances=functools.partial(draw_runs, sizes=(0.5, 1.0)),
        measure=_squared,
        control=Control("no such round", functools.partial(_squared, refitted=False)),
        figure="extensions",
    ),
    Claim(
        name="extensions.orthogonal",
        source=f"{SOURCE}: orthogonality constraints",
        statement="Components with orthogonal factors explain of M what they explain of their "
        "residuals, so that any of them can be left out without a change of the others.",
        formula="u_k^T (M - sum_{j<k} R_j) v_k = u_k^T M v_k",
        kind="identity",
        status="new",
        instances=draw_runs,
        measure=_sizes,
        control=Control("no constraint", functools.partial(_sizes, orthogonal=False)),
        figure="extensions",
    ),
    Claim(
        name="extensions.orthogonal_floor",
        source=f"{SOURCE}: orthogonality constraints; derived here",
        statement="Orthogonal components cannot make up for an error of the first: its row and "
        "column stay as they are, where without the constraint exact later steps lower them.",
        formula="||M - S||^2 >= ||u_1^T M||^2 + ||M v_1||^2 - 2 c_1^2",
        kind="lower",
        status="new",
        instances=draw_of_rank,
        measure=_floor,
        control=Control("no constraint", functools.partial(_floor, orthogonal=False)),
        figure="extensions",
    ),
    Claim(
        name="extensions.full_rank",
        source=f"{SOURCE}: hybrid with full-rank steps; Halko et al. 2011, theorem 9.1",
        statement="One least-squares step of all b_k and then of all a_k leaves an error that is "
        "above the least by the square of the angle between the span of the a_k and the leading "
        "right singular vectors.",
        formula="||M - S'||^2 <= tau_r^2 + ||S_rest V_rest^T A (V_r^T A)^-1||^2, A a basis of a_k",
        kind="upper",
        status="new",
        instances=draw_runs,
        measure=_full_rank,
        control=Control("tau_r alone", functools.partial(_full_rank, angle=False)),
        figure="extensions",
    ),
    Claim(
        name="extensions.full_rank_exact",
        source=f"{SOURCE}: hybrid with full-rank steps",
        statement="With as many components as M has rank it is exact, whatever was fitted before.",
        formula="S' = M for rank M = r",
        kind="identity",
        status="new",
        instances=draw_of_rank,
        measure=_full_rank_exact,
        control=Control("b alone", functools.partial(_full_rank_exact, b_alone=True)),
        figure="extensions",
    ),
)
