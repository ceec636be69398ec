"""Claims: what LoRA's two factors learn in a step as the number of inputs grows.

Legend: f(x) = b^T a x with a (r, n) ~ N(0, 1/n) and b = 0 at first, inputs x of n entries of size
one, outputs of size one; eta_a, eta_b the step sizes of gradient descent. Looked at is f after two
steps from the start, the first that change a, at widths n and 64 n.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.powers import measured_power
from linear_theory.instances.random_matrices import generator, norm

RANK, OUTPUTS, SAMPLES = 2, 3, 4
NARROW, WIDE = 1024, 64 * 1024
RATE = 0.2
# The next order is smaller by 1/sqrt(n) of the narrow one.
TOLERANCE = 0.05


class Start(NamedTuple):
    """a x of every sample (n, r, 4), ~ N(0, 1); outputs (n, 3, 4).

    Inputs at right angles to each other, of length sqrt(n): a x and b say all of the network, as a
    moves along the inputs alone.
    """

    hidden: np.ndarray
    outputs: np.ndarray


def draw_starts(key, trials: int) -> Start:
    """Gaussian outputs.

    Example:
      >>> import jax
      >>> draw_starts(jax.random.key(0), 2).hidden.shape
      (2, 2, 4)
    """
    rng = generator(key)
    hidden = rng.standard_normal((trials, RANK, SAMPLES))
    return Start(hidden, rng.standard_normal((trials, OUTPUTS, SAMPLES)))


class Path(NamedTuple):
    """||f|| after two steps, and the parts in it of what b and what a learned in the second."""

    whole: np.ndarray
    of_b: np.ndarray
    of_a: np.ndarray


def _two_steps(start: Start, width: int, rate_a: float, rate_b: float) -> Path:
    """a (r, n) moves by eta_a b (y - f) X^T, so that a X moves by n times that."""
    hidden = start.hidden
    b = rate_b * start.outputs @ hidden.mT / SAMPLES
    rest = start.outputs - b @ hidden
    learned_a = rate_a * width * b.mT @ rest / SAMPLES
    learned_b = rate_b * rest @ hidden.mT / SAMPLES
    whole = (b + learned_b) @ (hidden + learned_a)
    return Path(norm(whole), norm(learned_b @ hidden), norm(b @ learned_a))


def _exponents(start: Start, power_a: float, power_b: float) -> np.ndarray:
    """Powers of n in the parts of b and of a, for eta_a = .2 n^power_a, eta_b = .2 n^power_b."""
    narrow, wide = (
        _two_steps(start, width, RATE * width**power_a, RATE * width**power_b)
        for width in (NARROW, WIDE)
    )
    slopes = [measured_power(both, (NARROW, WIDE)) for both in zip(narrow, wide, strict=True)]
    return np.stack(slopes[1:], axis=1)


def _efficient(start: Start, power_a: float = -1.0, power_b: float = 0.0) -> Evidence:
    return Evidence(np.abs(_exponents(start, power_a, power_b)), 20 * np.finfo(float).eps)


def _one_rate(start: Start, power_a: float = -0.5, power_b: float = -0.5) -> Evidence:
    return Evidence(_exponents(start, power_a, power_b), -0.5, True, TOLERANCE)


CLAIMS = (
    Claim(
        name="width.efficient",
        source="arXiv 2503.19859, section 3.2; LoRA+, arXiv 2402.12354",
        statement="With rates that differ by the width both factors learn something of size one in "
        "every step, however wide the network.",
        formula="eta_a = c/n, eta_b = c: d ln ||learned by b|| / d ln n = d ln ||learned by a|| / "
        "d ln n = 0",
        kind="identity",
        status="as printed",
        instances=draw_starts,
        measure=_efficient,
        control=Control(
            "one rate c/sqrt(n)", functools.partial(_efficient, power_a=-0.5, power_b=-0.5)
        ),
    ),
    Claim(
        name="width.one_rate",
        source="arXiv 2503.19859, section 3.2; LoRA+, arXiv 2402.12354",
        statement="With one rate for both that is stable, c/sqrt(n) at most, both learn less in a "
        "step the wider the network.",
        formula="eta_a = eta_b = c/sqrt(n): d ln ||learned by b|| / d ln n = "
        "d ln ||learned by a|| / d ln n = -1/2",
        kind="fit",
        status="as printed",
        instances=draw_starts,
        measure=_one_rate,
        control=Control(
            "rates that differ by the width",
            functools.partial(_one_rate, power_a=-1.0, power_b=0.0),
        ),
    ),
)
