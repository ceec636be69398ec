"""Claims: how far the start from one gradient is off, and when it replaces warm-up and staggering.

Legend: as in `theory`; three workers, one alternating sweep a round.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import (
    falling,
    generator,
    norm,
    orthogonal,
    unit_rows,
)
from linear_theory.parallel.gradient_start import theory
from linear_theory.parallel.self_correction.theory import gate_radius

ROWS, COLUMNS, RANK = 7, 6, 3
STARTS, ROUNDS, NEAR = 5, 60, 1e-6
MILD, STRONG = (1e-3, 3e-2), (0.3, 0.9)


class Inputs(NamedTuple):
    """values s (n, 6); exact R*_k (n, 3, 7, 6), and M (n, 7, 6); root H (n, 6, 6), eps (n,).

    random: first directions of runs beside it (n, 5, 3, 6).
    """

    values: np.ndarray
    exact: np.ndarray
    target: np.ndarray
    root: np.ndarray
    eps: np.ndarray
    random: np.ndarray


def draw_inputs(key, trials: int, sizes=MILD, most: int = 64) -> Inputs:
    """H = I + eps E with ||E||_2 = 1, eps in `sizes`, uniform in its logarithm; ratios .2 to .7.

    Example:
      >>> import jax
      >>> draw_inputs(jax.random.key(0), 2).exact.shape
      (2, 3, 7, 6)
    """
    rng, count = generator(key), min(trials, most)
    values = falling(rng.uniform(0.2, 0.7, (count, COLUMNS - 1)))
    left, right = orthogonal(rng, count, ROWS, COLUMNS), orthogonal(rng, count, COLUMNS, COLUMNS)
    parts = values[:, :, None, None] * left.mT[..., None] * right.mT[:, :, None]
    change = rng.standard_normal((count, COLUMNS, COLUMNS))
    change = change + change.mT
    change = change / norm(change, 2)[:, None, None]
    eps = np.exp(rng.uniform(*np.log(sizes), count))
    root = np.eye(COLUMNS) + eps[:, None, None] * change
    random = rng.standard_normal((count, STARTS, RANK, COLUMNS))
    return Inputs(values, parts[:, :RANK], parts.sum(axis=1), root, eps, random)


def _from_gradient(given: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """b (n, 3, 7, 1) and a (n, 3, 6, 1), whitened."""
    left, values, right = np.linalg.svd(given.target @ given.root, full_matrices=False)
    b = (left * values[:, None]).mT[:, :RANK, :, None]
    return b, (right[:, :RANK] @ given.root)[..., None]


def _mismatch(given: Inputs, b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """delta_k, k = 2, 3, (n, 2)."""
    return norm(np.cumsum(b @ a.mT - given.exact, axis=1)[:, :-1])


def _start(given: Inputs, gaps: bool = True) -> Evidence:
    bound = theory.start_mismatch(given.values, given.eps, RANK)
    if not gaps:  # what white inputs would suggest: an error of the size of eps
        bound = np.where(np.isfinite(bound), given.eps[:, None] * given.values[:, :1], np.inf)
    return Evidence(_mismatch(given, *_from_gradient(given)), bound, np.isfinite(bound))


def _settled(given: Inputs, b: np.ndarray, a: np.ndarray, staggered: bool) -> np.ndarray:
    """The round from which on G_k <= NEAR (n, 3); worker k publishes at once, or after round k."""
    earlier = np.tril(np.ones((RANK, RANK)), -1)
    components, settled = b @ a.mT, np.zeros(a.shape[:2], int)
    for number in range(1, ROUNDS + 1):
        published = np.arange(RANK) < (number - 1 if staggered else RANK)
        seen = np.tensordot(components, earlier * published, (1, 1))
        target = given.target[:, None] - np.moveaxis(seen, -1, 1)
        a = unit_rows((target.mT @ (target @ a))[..., 0])[..., None]
        components = target @ a @ a.mT
        far = norm(components - given.exact) > NEAR * given.values[:, :RANK]
        settled = np.where(far, number + 1, settled)
        if not far.any():
            break
    return settled


def _rounds(given: Inputs, opened: bool = True) -> Evidence:
    """Of this start, all published at once, against random ones, staggered, less k - 1."""
    b, a = _from_gradient(given)
    radius = np.asarray(gate_radius(given.values))[:, 1:RANK]
    gates = np.all(_mismatch(given, b, a) <= radius, axis=1)
    runs = [
        _settled(given, np.zeros_like(b), given.random[:, start, ..., None], staggered=True)
        for start in range(STARTS)
    ]
    bound = np.median(runs, axis=0) - np.arange(RANK)
    measured = _settled(given, b, a, staggered=False)
    return Evidence(measured, bound, (gates == opened)[:, None] & (bound < ROUNDS))


CLAIMS = (
    Claim(
        name="gradient_start.mismatch",
        source="proved in gradient_start.theory; arXiv 2502.01235, proposition 3.3, for workers of "
        "arXiv 2605.10741",
        statement="All workers from the singular vectors of one gradient: how far the sum of its "
        "predecessors is off before worker k's first round.",
        formula="delta_k <= sqrt(k-1) (4 + eps + 4 s_k/T_{k-1}) s_1 eps, eps = ||H - I||_2 "
        "<= T_{k-1}/(2 s_1), H^2 = X X^T",
        kind="upper",
        status="new",
        instances=draw_inputs,
        measure=_start,
        control=Control("s_1 eps, without the gaps", functools.partial(_start, gaps=False)),
    ),
    Claim(
        name="gradient_start.rounds",
        source="observed; joins arXiv 2502.01235, proposition 3.3, and the warm-up of "
        "arXiv 2605.10741",
        statement="Where this start opens every gate, nothing is left to warm up: with all workers "
        "published at once, worker k settles k - 1 rounds sooner at least than staggered from "
        "random directions, in the median over five of those. Far from white inputs gates are "
        "closed, and it may not.",
        formula="l_k(gradient) <= median l_k(random) - (k - 1) where delta_j <= T_j/(2 sqrt(2)) "
        "for all j; E_{k,l} <= 1e-6 s_k from l_k on, r = 3",
        kind="upper",
        status="new",
        instances=draw_inputs,
        measure=_rounds,
        control=Control(
            "inputs with ||H - I|| from 0.3 to 0.9, gates closed",
            functools.partial(_rounds, opened=False),
            functools.partial(draw_inputs, sizes=STRONG),
        ),
    ),
)
