"""Claims: what the gradient of a ReLU layer says about the change that is to be learned.

Legend: as in `arc_cosine`; instances are single columns w and w~ = w + delta, theta <= pi/2 unless
they say otherwise.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np

from linear_theory.adaptation.arc_cosine import theory as arc_cosine
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator

D, SAMPLES = 4, 60
# Steps of the central difference and what they leave: the function has a kink at 0 alone.
LARGE, SMALL = 1.5, 1e-3


class Columns(NamedTuple):
    """x (trials, N, d); weights w and teacher w~ (trials, d)."""

    x: np.ndarray
    weights: np.ndarray
    teacher: np.ndarray


def draw_columns(
    key: jax.Array, trials: int, size: float = LARGE, spread: float = 1.0, across: bool = False
) -> Columns:
    """||w|| = 1 and ||delta|| from size/spread to size, in any direction or orthogonal to w.

    Example:
      >>> draw_columns(jax.random.key(0), 2).x.shape
      (2, 60, 4)
    """
    random = generator(key)
    x = random.normal(size=(trials, SAMPLES, D))
    weights = random.normal(size=(trials, D))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    delta = random.normal(size=(trials, D))
    if across:
        delta -= (delta * weights).sum(axis=1, keepdims=True) * weights
    length = size * spread ** -random.random((trials, 1))
    delta *= length / np.linalg.norm(delta, axis=1, keepdims=True)
    return Columns(x, weights, weights + delta)


def _direction(columns: Columns, exact: bool = False) -> np.ndarray:
    targets = np.maximum(columns.x @ columns.teacher[..., None], 0)
    function = arc_cosine.relu_direction if exact else arc_cosine.glm_direction
    return function(columns.x, columns.weights[..., None], targets)[..., 0]


def _share(columns: Columns, direction: np.ndarray) -> np.ndarray:
    """<direction, delta>/||delta||^2."""
    delta = columns.teacher - columns.weights
    return (direction * delta).sum(axis=1) / (delta**2).sum(axis=1)


def _stein(columns: Columns, exact: bool = False) -> Evidence:
    return Evidence(_share(columns, _direction(columns, exact)), 0.5)


def _fluctuation(columns: Columns, d: float = D) -> Evidence:
    half = (columns.teacher - columns.weights) / 2
    error = ((_direction(columns) - half) ** 2).sum(axis=1) / (half**2).sum(axis=1)
    return Evidence(error, arc_cosine.fluctuation(d, SAMPLES))


def _mean(columns: Columns, half: bool = False) -> Evidence:
    """Two projections: on delta and, beside it, on w."""
    measured = _direction(columns, exact=True)
    stated = np.asarray(arc_cosine.mean_relu_direction(columns.weights, columns.teacher))
    if half:
        stated = (columns.teacher - columns.weights) / 2
    return Evidence(
        np.stack([_share(columns, measured), (measured * columns.weights).sum(axis=1)], 1),
        np.stack([_share(columns, stated), (stated * columns.weights).sum(axis=1)], 1),
    )


def _bias(columns: Columns, constant: float = 1.0) -> Evidence:
    half = (columns.teacher - columns.weights) / 2
    error = np.asarray(arc_cosine.mean_relu_direction(columns.weights, columns.teacher)) - half
    measured = np.linalg.norm(error, axis=1) / np.linalg.norm(half, axis=1)
    acute = (columns.weights * columns.teacher).sum(axis=1) >= 0
    return Evidence(
        measured,
        constant * np.asarray(arc_cosine.relative_bias_bound(columns.weights, columns.teacher)),
        acute,
    )


_draw_small = functools.partial(draw_columns, size=SMALL)
_draw_spread = functools.partial(draw_columns, size=1.0, spread=1e4)

CLAIMS = (
    Claim(
        name="arc_cosine.stein",
        source="arXiv 2502.01235, section 4",
        statement="The GLM-tron direction points at half the change, in the mean and exactly. The"
        " gradient itself does not: E G = Delta/2 is for this direction.",
        formula="E J_GLM = (W~ - W)/2",
        kind="mean",
        status="with a condition",
        instances=draw_columns,
        measure=_stein,
        control=Control(
            "the gradient J, ||delta|| = 1.5 ||w||, orthogonal",
            functools.partial(_stein, exact=True),
            functools.partial(draw_columns, size=LARGE, across=True),
        ),
    ),
    Claim(
        name="arc_cosine.fluctuation",
        source="proved in arc_cosine.fluctuation",
        statement="How far the GLM-tron direction is from its mean, for small changes.",
        formula="E ||J_GLM - Delta/2||_F^2/||Delta/2||_F^2 = (2 d + 3)/N",
        kind="mean",
        status="new",
        instances=_draw_small,
        measure=_fluctuation,
        control=Control(
            "d/N, as for a linear model", functools.partial(_fluctuation, d=(D - 3) / 2)
        ),
    ),
    Claim(
        name="arc_cosine.mean_gradient",
        source="Cho and Saul 2009; arXiv 2502.01235, section 4",
        statement="The mean of the gradient of a ReLU layer.",
        formula="E J = ((pi - theta) w~ + ||w~|| sin(theta) w/||w||)/(2 pi) - w/2",
        kind="mean",
        status="corrected",
        instances=functools.partial(draw_columns, across=True),
        measure=_mean,
        control=Control("as printed, Delta/2", functools.partial(_mean, half=True)),
    ),
    Claim(
        name="arc_cosine.bias",
        source="proved in arc_cosine.relative_bias_bound",
        statement="The mean gradient is Delta/2 up to the angle between w and w~, so for"
        " ||delta|| << ||w||.",
        formula="||E J - delta/2||/||delta/2|| <= (1 + pi^2/4)^{1/2} 2 theta/pi^2, theta <= pi/2",
        kind="upper",
        status="new",
        instances=_draw_spread,
        measure=_bias,
        control=Control("two thirds of the constant", functools.partial(_bias, constant=2 / 3)),
    ),
)
