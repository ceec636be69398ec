"""Claims: parallel workers on components that nearly tie.

Legend: as in `theory`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator, orthogonal, unit_rows
from linear_theory.parallel.clusters import theory
from linear_theory.parallel.clusters.theory import Workers

GROUP, SIZE = 3, 7
ROUNDS = 12
PAIR_ROUNDS = 40
WIDTHS = 1e-5, 1e-8
POWER_TOLERANCE = 5e-4  # of the power of the width, which bends it by a share of the larger one
FLOOR = 1e-10


class Group(NamedTuple):
    """values (trials, K), right singular vectors (trials, 7, K), target, starts as `Workers`."""

    values: np.ndarray
    right: np.ndarray
    target: np.ndarray
    workers: Workers


def draw_groups(key, trials: int, width: float | None = None, tail: float = 0.8) -> Group:
    """Three values that nearly tie, and four from `tail` s_3 downwards.

    Gaps are between 1e-12 and .1, or with a width between a fifth of it and all of it.
    """
    rng = generator(key)
    shares = rng.uniform(size=(trials, GROUP - 1))
    gaps = 10.0 ** (11 * shares - 12) if width is None else width * (0.2 + 0.8 * shares)
    values = np.concatenate([np.ones((trials, 1)), 1 - np.cumsum(gaps, axis=1)], axis=1)
    ratios = rng.uniform([0.4] + [0.5] * 3, [tail] + [0.8] * 3, (trials, SIZE - GROUP))
    rest = values[:, -1:] * np.cumprod(ratios, axis=1)
    return _group(rng, np.concatenate([values, rest], axis=1), SIZE, GROUP)


def draw_widths(key, trials: int) -> list[Group]:
    """The same groups twice, with gaps of two sizes and s_4 below six tenths of s_3."""
    return [draw_groups(key, trials, width, tail=0.6) for width in WIDTHS]


def draw_pairs(key, trials: int) -> Group:
    """Matrices of rank two with a gap between 1e-12 and .7; starts in their row space."""
    rng = generator(key)
    gap = 10.0 ** rng.uniform(-12, np.log10(0.7), (trials, 1))
    return _group(rng, np.concatenate([np.ones((trials, 1)), 1 - gap], axis=1), 2, 2)


def _group(rng, values: np.ndarray, size: int, rank: int) -> Group:
    trials = len(values)
    left, right = (orthogonal(rng, trials, size, values.shape[1]) for _ in range(2))
    target = left * values[:, None] @ right.mT
    a = orthogonal(rng, trials, rank, size)
    # Rows at any angle to each other, as they are drawn, not an orthonormal start.
    a = a + 0.5 * rng.standard_normal((trials, rank, 1)) * a[:, :1]
    a = unit_rows(a)
    return Group(values, right, target, Workers(a @ target.mT, a))


def _rounds(group: Group, step, count: int) -> list[Workers]:
    every = [group.workers]
    for _ in range(count):
        every.append(step(group.target, every[-1]))
    return every


def _span(group: Group, rank: int = GROUP) -> Evidence:
    """Of the first `rank` workers, against the bound of the group."""
    every = _rounds(group, theory.consistent_round, ROUNDS)
    right = group.right[:, :, :rank]
    measured = np.stack([theory.tangent(right, w.a[:, :rank]) for w in every], axis=1)
    start = measured[:, :1]
    bound = theory.span_bound(group.values[:, None], GROUP, start, np.arange(ROUNDS + 1))
    return Evidence(measured, bound, bound > FLOOR)


def _width(groups: list[Group], step=theory.lagged_round, power: float = 1.0) -> Evidence:
    errors = []
    for group in groups:
        right = group.right[:, :, :GROUP]
        workers = _rounds(group, step, PAIR_ROUNDS)[-1]
        left = workers.b.mT @ workers.a - group.target @ right @ right.mT
        errors.append(np.linalg.norm(left, axis=(1, 2)))
    slope = measured_power(errors, WIDTHS)
    return Evidence(slope, power, True, POWER_TOLERANCE)


def _lag(group: Group, share: float = 1.0) -> Evidence:
    every = _rounds(group, theory.lagged_round, PAIR_ROUNDS)[2:]
    errors = [np.linalg.norm(w.b.mT @ w.a - group.target, axis=(1, 2)) for w in every]
    return Evidence(np.max(errors, axis=0), share * theory.lag_bound(group.values))


CLAIMS = (
    Claim(
        name="clusters.span",
        source="proved in theory.span_bound; a question left open by the essay on AdaPaD",
        statement="Consistent workers find the span of a group at the rate of the gap around it, "
        "from any start and in every round, whatever the gaps within: uniform as they vanish.",
        formula="||tan Theta(a_1..a_r, V)|| <= (s_{r+1}/s_r)^{2l} ||tan Theta_0||",
        kind="upper",
        status="new",
        instances=draw_groups,
        measure=_span,
        control=Control("the first worker by itself", functools.partial(_span, rank=1)),
    ),
    Claim(
        name="clusters.lag",
        source="proved in theory.lag_bound",
        statement="What workers publish of a pair is its sum up to the way that the first of them "
        "turns in one round, which vanishes with the gap, while single components stay undefined.",
        formula="||b_1 a_1^T + b_2 a_2^T - M|| <= s_1 (1 - q) / sqrt(2q), q = (s_2/s_1)^2, rank 2",
        kind="upper",
        status="new",
        instances=draw_pairs,
        measure=_lag,
        control=Control("half of it", functools.partial(_lag, share=0.5)),
    ),
    Claim(
        name="clusters.width",
        source="observed; for a pair proved in theory.lag_bound",
        statement="Of a group of three the error of the published sum, once the components around "
        "it are gone, is proportional to the width of the group.",
        formula="||sum_k b_k a_k^T - M V V^T|| ~ s_1 - s_r after 40 rounds",
        kind="fit",
        status="new",
        instances=draw_widths,
        measure=_width,
        control=Control("the square root of the width", functools.partial(_width, power=0.5)),
    ),
)
