"""Claims: what gradient descent on products of layers has learned when.

Legend: as in `theory`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import falling, generator, orthogonal
from linear_theory.structure.implicit_deflation import theory as implicit

COUNT = 3  # components
STEP = 0.02
SIZE = 4  # of the matrices of `escape`
# Beside a limit: what the steps add to it, and what is left of smaller terms at these starts.
EXPONENT_TOLERANCE = 0.003
GROWTH_TOLERANCE = 0.003
ESCAPE_TOLERANCE = 0.01
# Components whose starts are orthogonal to each other do not mix to leading order.
MIXED = 0.3
STARTS = 1e-9, 1e-13
SMALL = 1e-6, 1e-10
DEPTH, ROOT = 3, 1e-3  # of the deep networks, and the singular values of their layers at the start


class Aligned(NamedTuple):
    """values (trials, 3), the first one 1; start alpha (trials, 1)."""

    values: np.ndarray
    start: np.ndarray


class Network(NamedTuple):
    """A matrix of rank 3 (trials, 4, 4) and its values (trials, 3), and a direction of all layers.

    Attributes:
      left, right: u_k (trials, 4, 3), v_k^T (trials, 3, 4).
      direction: two arrays (trials, 4, 4), Gaussian.
    """

    values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    direction: tuple[np.ndarray, np.ndarray]


def draw_aligned(key, trials: int, low: float = 0.4, high: float = 0.8) -> Aligned:
    """Spectra with ratios between `low` and `high`, starts between 1e-6 and 1e-3."""
    rng = generator(key)
    values = _values(rng, trials, low, high)
    return Aligned(values, 10.0 ** rng.uniform(-6, -3, (trials, 1)))


def draw_apart(key, trials: int) -> Aligned:
    """The same with ratios up to .6 only: close values need a start too small for a computer."""
    return draw_aligned(key, trials, 0.2, 0.6)


def draw_networks(key, trials: int) -> Network:
    """Matrices with the spectra of `draw_apart`."""
    rng = generator(key)
    values = _values(rng, trials, 0.2, 0.6)
    left, right = orthogonal(rng, trials, SIZE, COUNT), orthogonal(rng, trials, COUNT, SIZE)
    direction = rng.standard_normal((2, trials, SIZE, SIZE))
    return Network(values, left, right, (direction[0], direction[1]))


def _values(rng, trials: int, low: float, high: float) -> np.ndarray:
    ratios = rng.uniform(low, high, (trials, COUNT - 1))
    return falling(ratios)


def _times(aligned: Aligned) -> np.ndarray:
    """Numbers of steps until all have arrived."""
    last = np.log(1 / aligned.start.min()) / (STEP * aligned.values.min())
    return np.unique(np.linspace(1, last, 60).astype(int))


def _flow(aligned: Aligned, rate: float = 1.0) -> Evidence:
    """Points: trials, times and components."""
    times = _times(aligned)
    sigma = implicit.descent(aligned.values, aligned.start, STEP, times)
    elapsed = STEP * times[:, None, None]
    predicted = implicit.flow(aligned.values, aligned.start, rate * elapsed)
    tolerance = implicit.flow_error(aligned.values, STEP, elapsed)
    return Evidence(
        *(np.moveaxis(side, 1, 0) for side in (sigma, predicted)),
        True,
        np.moveaxis(tolerance, 1, 0),
    )


def _distances(values: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """||W - M_k||_F for k = 1..K-1, last axis, of the singular values of W along those of M."""
    learned = np.arange(values.shape[-1]) < np.arange(1, values.shape[-1])[:, None]
    return np.sqrt(np.sum((values[..., None, :] * learned - sigma[..., None, :]) ** 2, axis=-1))


def _plateau(aligned: Aligned, leak: bool = True) -> Evidence:
    """Points: trials, times and k."""
    times = _times(aligned)
    sigma = implicit.descent(aligned.values, aligned.start, STEP, times)
    measured = np.moveaxis(_distances(aligned.values, sigma), 1, 0)
    values, start = aligned.values[:, None], aligned.start[:, None]
    bound = implicit.plateau(values, start, STEP, times[:, None])
    # Before and after the plateau the bound is larger than M itself.
    premise = bound < aligned.values[:, None, 1:]
    if not leak:
        missing = implicit.missing(values, start, STEP, times[:, None])
        bound = np.sqrt(np.cumsum(missing**2, axis=-1))[..., :-1]
    return Evidence(measured, bound, premise)


def _least(values: np.ndarray, start: float) -> np.ndarray:
    """Least ||W - M_k||_F on the way (trials, K-1)."""
    last = 2 * np.log(1 / start) / (2 * STEP * values[:, 1].min())
    times = np.arange(1, int(last), 3)
    return np.min(_distances(values, implicit.descent(values, start, STEP, times)), axis=0)


def _exponent(aligned: Aligned, formula=implicit.plateau_exponent) -> Evidence:
    far, near = (_least(aligned.values, start) for start in STARTS)
    slope = measured_power((far, near), STARTS)
    return Evidence(slope, formula(aligned.values), True, EXPONENT_TOLERANCE)


def _share(values: np.ndarray) -> np.ndarray:
    return 1 - values[..., 1:] / values[..., :-1]


def _growth(aligned: Aligned, depth: int = DEPTH) -> Evidence:
    """Of the second component when half of the first is learned, on a logarithmic scale."""
    values = aligned.values[:, :2]
    start = ROOT**DEPTH
    # Steps of its own size for each instance: the first component takes as many in all of them.
    arrival = int(1 / (STEP * ROOT ** (DEPTH - 2)))
    times = np.arange(arrival - arrival // 20, arrival + arrival // 20)
    sigma = implicit.descent(values, start, STEP, times, DEPTH)
    place = np.argmax(sigma[..., 0] > values[:, 0] / 2, axis=0)
    second = np.take_along_axis(sigma[..., 1], place[None], axis=0)[0]
    predicted = np.log(implicit.growth_ahead(values, depth)[..., 0])
    return Evidence(np.log(second / start), predicted, place > 0, GROWTH_TOLERANCE * predicted)


def _two_layers(aligned: Aligned) -> Evidence:
    evidence = _growth(aligned)
    ratio = aligned.values[:, 1] / aligned.values[:, 0]
    predicted = ratio * np.log(aligned.values[:, 0] / ROOT**DEPTH)
    return evidence._replace(bound=predicted)


def _angle(network: Network, size: float) -> np.ndarray:
    """Sine of the angle of W_2 W_1 - M_1 to u_2 v_2^T when half of s_2 is learned (trials,)."""
    target = network.left * network.values[:, None] @ network.right
    first = network.left[:, :, :1] * network.values[:, :1, None] @ network.right[:, :1]
    u, v = network.left[:, :, :1], network.right[:, :1]
    root = np.sqrt(network.values[:, :1, None])
    unit = np.zeros((1, 1, SIZE))
    unit[..., 0] = 1
    one = root * unit.mT * v + size * network.direction[0]
    two = u * root @ unit + size * network.direction[1]
    pointed = network.left[:, :, 1:2] * network.right[:, 1:2]
    sine, open_ = np.zeros(len(target)), np.ones(len(target), bool)
    while open_.any():
        slope = target - two @ one
        one, two = one + STEP * two.mT @ slope, two + STEP * slope @ one.mT
        rest = two @ one - first
        along = np.sum(rest * pointed, axis=(1, 2))
        now = open_ & (along > network.values[:, 1] / 2)
        across = rest - along[:, None, None] * pointed
        ratio = np.linalg.norm(across, axis=(1, 2)) / np.linalg.norm(rest, axis=(1, 2))
        sine = np.where(now, ratio, sine)
        open_ &= ~now
    return sine


def _escape(network: Network, formula=implicit.escape_exponent) -> Evidence:
    far, near = (_angle(network, size) for size in SMALL)
    slope = measured_power((far, near), SMALL)
    one, two = network.direction
    second, third = np.moveaxis(one @ network.right.mT + two.mT @ network.left, 2, 0)[1:, :, 1:]
    cosine = (
        np.sum(second * third, 1) / np.linalg.norm(second, axis=1) / np.linalg.norm(third, axis=1)
    )
    return Evidence(slope, formula(network.values)[:, 1], abs(cosine) > MIXED, ESCAPE_TOLERANCE)


CLAIMS = (
    Claim(
        name="implicit_deflation.flow",
        source="arXiv 1312.6120, equation 7; steps of a size: flow_error",
        statement="Two layers from a small aligned start: every singular value follows a logistic "
        "curve of its own, up to what the size of the steps explains.",
        formula="sigma_k(t) = s_k / (1 + (s_k/alpha - 1) e^{-2 s_k t}), up to s_k/4 eta s_k^2 t",
        kind="fit",
        status="with a condition",
        instances=draw_aligned,
        measure=_flow,
        control=Control("the rate of one layer, e^{-s t}", functools.partial(_flow, rate=0.5)),
    ),
    Claim(
        name="implicit_deflation.plateau",
        source="proved in theory.missing and theory.grown",
        statement="Between the arrivals of components k and k + 1 descent from a small aligned "
        "start stands at the best approximation of rank k, where k exact deflations end.",
        formula="||W_2 W_1 - M_k||^2 <= sum_{i<=k} (s_i (s_i - alpha)/alpha (1 + eta s_i)^{-2t})^2 "
        "+ sum_{i>k} (alpha (1 + eta s_i)^{2t})^2",
        kind="upper",
        status="new",
        instances=draw_aligned,
        measure=_plateau,
        control=Control(
            "without the components yet to come", functools.partial(_plateau, leak=False)
        ),
    ),
    Claim(
        name="implicit_deflation.plateau_exponent",
        source="proved in theory.plateau_exponent",
        statement="How exact implicit deflation can be: the least distance to the best "
        "approximation of rank k falls as a power of the start that the relative gap decides.",
        formula="min_t ||W_2 W_1 - M_k|| ~ alpha^{(s_k - s_{k+1}) / (s_k + s_{k+1})}",
        kind="fit",
        status="new",
        instances=draw_apart,
        measure=_exponent,
        control=Control(
            "the gap relative to s_k alone", functools.partial(_exponent, formula=_share)
        ),
    ),
    Claim(
        name="implicit_deflation.depth",
        source="proved in theory.growth_ahead",
        statement="Three layers deflate more sharply: when a component arrives the next one has "
        "grown by a constant factor, however small the start.",
        formula="sigma_{k+1} / alpha -> (1 - s_{k+1}/s_k)^{-L/(L-2)} as alpha -> 0, L = 3",
        kind="fit",
        status="new",
        instances=draw_apart,
        measure=_growth,
        control=Control("the law of two layers, (s_k/alpha)^{s_{k+1}/s_k}", _two_layers),
    ),
    Claim(
        name="implicit_deflation.escape",
        source="arXiv 2012.09839, theorem on greedy low-rank learning; proved in escape_exponent",
        statement="Two layers that have learned k components and start anew from eps times "
        "anything fit the leading component of the residual next; the angle to it, where the "
        "starts of the next two are not orthogonal.",
        formula="angle(W_2 W_1 - M_k, u_{k+1} v_{k+1}^T) ~ eps^{1 - s_{k+2}/s_{k+1}}",
        kind="fit",
        status="with a condition",
        instances=draw_networks,
        measure=_escape,
        control=Control(
            "the exponent of the plateau",
            functools.partial(_escape, formula=implicit.plateau_exponent),
        ),
    ),
)
