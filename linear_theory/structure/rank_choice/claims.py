"""Claims: when a choice of ranks can bring something, and how much.

Legend: as in `rank_choice.theory`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator
from linear_theory.structure.rank_choice import theory
from rankwise.best_ranks import best_ranks

MAPS, MOST = 6, 128  # of the largest rank; the ranks drawn are powers of two up to it
SOURCE = "derived here; adaptive ranks of arXiv 2605.10741 and 2303.10512"


class Maps(NamedTuple):
    """Spectra of several maps, and ranks.

    Attributes:
      scales: c (N, n), log-normal, the standard deviation of the logarithm up to 1.
      slope: a (N,), log-uniform in (0.55, 4).
      ratio: q (N,), uniform in (0.2, 0.9).
      rank: r (N,), the mean rank.
      other: ranks (N, n) of the same sum, drawn.
    """

    scales: np.ndarray
    slope: np.ndarray
    ratio: np.ndarray
    rank: np.ndarray
    other: np.ndarray


def draw_maps(key, trials: int) -> Maps:
    """Random spectra.

    Example:
      >>> import jax
      >>> draw_maps(jax.random.key(0), 3).scales.shape
      (3, 6)
    """
    rng = generator(key)
    spread = rng.uniform(0, 1, (trials, 1))
    rank = 2 ** rng.integers(0, int(np.log2(MOST)) + 1, trials)
    return Maps(
        scales=np.exp(spread * rng.standard_normal((trials, MAPS))),
        slope=np.exp(rng.uniform(np.log(0.55), np.log(4), trials)),
        ratio=rng.uniform(0.2, 0.9, trials),
        rank=rank,
        other=np.stack([rng.multinomial(MAPS * r, np.full(MAPS, 1 / MAPS)) for r in rank]),
    )


def _best(maps: Maps, law) -> np.ndarray:
    """The best ranks (N, n); `law`: (a map's scale, instance, numbers) -> singular values."""
    found = []
    for k, rank in enumerate(maps.rank):
        numbers = np.arange(1, MAPS * rank + 1)
        found.append(best_ranks(law(maps.scales[k][:, None], k, numbers), MAPS * rank))
    return np.stack(found)


def _power(maps: Maps):
    """What the best, equal and drawn ranks leave of power laws."""
    best = _best(maps, lambda scale, k, i: scale * i ** -maps.slope[k])
    choices = best, maps.rank[:, None], maps.other
    return [theory.power_left(maps.scales, maps.slope, ranks) for ranks in choices]


def _exponential(maps: Maps):
    """Best ranks, and what they and equal ones leave of exponential spectra."""
    # By logarithms, as the values themselves fall below the smallest number.
    best = _best(maps, lambda scale, k, i: np.log(scale) + i * np.log(maps.ratio[k]))
    return best, [
        theory.exponential_left(maps.scales, maps.ratio, ranks)
        for ranks in (best, maps.rank[:, None])
    ]


def _least(maps: Maps, than: int = 0) -> Evidence:
    lefts = _power(maps)
    return Evidence(lefts[2], lefts[than] * (1 - 1e-12))  # rounding of sums of six terms


def _lower(maps: Maps, power: float = 2.0) -> Evidence:
    best, equal, _ = _power(maps)
    lower, _, _ = theory.power_bounds(maps.scales, maps.slope, maps.rank)
    changed = theory.gain(maps.scales, maps.slope) ** (power / 2 - 1)
    return Evidence(best / equal, lower * changed * (1 - 1e-12))


def _upper(maps: Maps, slope: float | None = None) -> Evidence:
    best, equal, _ = _power(maps)
    _, upper, least = theory.power_bounds(maps.scales, maps.slope, maps.rank)
    if slope is not None:
        upper = upper * theory.gain(maps.scales, slope) / theory.gain(maps.scales, maps.slope)
    return Evidence(best / equal, upper, least > 1)


def _steep(maps: Maps, order: float = 0.0) -> Evidence:
    _, (best, equal) = _exponential(maps)
    square = (theory.power_mean(maps.scales, order) / theory.power_mean(maps.scales, 2)) ** 2
    return Evidence(best / equal, square * (1 - 1e-12))


def _steep_upper(maps: Maps, rounded: bool = True) -> Evidence:
    ranks, (best, equal) = _exponential(maps)
    bound = theory.gain(maps.scales, np.inf)
    bound = bound * theory.specht(maps.ratio**-2) if rounded else bound
    return Evidence(best / equal, bound, np.min(ranks, axis=-1) > 0)


class Many(NamedTuple):
    """Scales of many maps: c (N, 4096), their slope a (N,) and spread t (N,) of logarithms."""

    scales: np.ndarray
    slope: np.ndarray
    spread: np.ndarray


def draw_many(key, trials: int) -> Many:
    """Log-normal scales.

    Example:
      >>> import jax
      >>> draw_many(jax.random.key(0), 2).scales.shape
      (2, 4096)
    """
    rng = generator(key)
    slope, spread = rng.uniform(0.55, 3, trials), rng.uniform(0.1, 0.5, trials)
    scales = np.exp(spread[:, None] * rng.standard_normal((trials, 4096)))
    return Many(scales, slope, spread)


def _lognormal(many: Many, slope: float | None = None) -> Evidence:
    found = -np.log(theory.gain(many.scales, many.slope)) / many.spread**2
    stated = theory.gain_lognormal(many.slope if slope is None else slope, many.spread)
    # Logarithms of means of 4096 values, of which the standard deviation is below .03 t^2.
    return Evidence(found, -np.log(stated) / many.spread**2, tolerance=0.2)


CLAIMS = (
    Claim(
        name="rank_choice.least",
        source=SOURCE,
        statement="Of all ranks of one sum those of the largest singular values of all maps "
        "together leave least: Eckart and Young's theorem for the block-diagonal matrix.",
        formula="sum_p sum_{i > r_p} s_pi^2 >= sum of all but the R largest s_pi^2",
        kind="lower",
        status="new",
        instances=draw_maps,
        measure=_least,
        control=Control("equal ranks leave least", functools.partial(_least, than=1)),
    ),
    Claim(
        name="rank_choice.power_lower",
        source=SOURCE,
        statement="Of spectra c_p i^{-a} no choice of ranks leaves less than the square of a ratio "
        "of power means of the scales, of what equal ranks leave: near the slope 1/2 nothing is to "
        "be gained, however uneven the scales are.",
        formula="best / equal >= (M_{1/a}(c) / M_2(c))^2 (1 + 1/r)^{1-2a}",
        kind="lower",
        status="new",
        instances=draw_maps,
        measure=_lower,
        control=Control("the ratio, not its square", functools.partial(_lower, power=1.0)),
    ),
    Claim(
        name="rank_choice.power_upper",
        source=SOURCE,
        statement="And the best choice reaches it as ranks grow.",
        formula="best / equal <= (M_{1/a}(c) / M_2(c))^2 ((1 + 1/r) / (1 - 1/x))^{2a-1}, "
        "x = min_p R c_p^{1/a} / sum_p c_p^{1/a} > 1",
        kind="upper",
        status="new",
        instances=draw_maps,
        measure=_upper,
        control=Control(
            "the gain of steep spectra, M_0, whatever the slope",
            functools.partial(_upper, slope=np.inf),
        ),
    ),
    Claim(
        name="rank_choice.steep_lower",
        source=SOURCE,
        statement="Of exponential spectra of one ratio the geometric mean of the scales stands in "
        "its place, at every rank.",
        formula="best / equal >= (M_0(c) / M_2(c))^2 for s_pi = c_p q^i",
        kind="lower",
        status="new",
        instances=draw_maps,
        measure=_steep,
        control=Control("the arithmetic mean", functools.partial(_steep, order=1.0)),
    ),
    Claim(
        name="rank_choice.steep_upper",
        source=SOURCE,
        statement="The best choice is within Specht's ratio of it, which is what whole ranks cost, "
        "once every map has a component.",
        formula="best / equal <= S(q^{-2}) (M_0(c) / M_2(c))^2, min_p r_p >= 1, "
        "S(h) = h^{1/(h-1)} / (e log h^{1/(h-1)})",
        kind="upper",
        status="new",
        instances=draw_maps,
        measure=_steep_upper,
        control=Control("without that ratio", functools.partial(_steep_upper, rounded=False)),
    ),
    Claim(
        name="rank_choice.lognormal",
        source=SOURCE,
        statement="With log-normal scales the slope and the spread of the scales say what ranks "
        "can bring.",
        formula="(M_{1/a}(c) / M_2(c))^2 = exp(-(2 - 1/a) t^2), t the spread of log c",
        kind="fit",
        status="new",
        instances=draw_many,
        measure=_lognormal,
        control=Control("2 - 1/a at the slope 1", functools.partial(_lognormal, slope=1.0)),
    ),
)
