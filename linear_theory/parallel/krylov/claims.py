"""Claims: what one Krylov round does behind exact predecessors, and behind moving ones.

Legend: as in `krylov`; the rounds are those of `deflation.krylov`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import deflation
from deflation import Components
from deflation.rounds.worker import View
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import compiled
from linear_theory.parallel.krylov import theory as krylov
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import COLUMNS, RANK, ROWS, VALUES, draw, separated_spectrum
from linear_theory.parallel.self_correction.claims_late_phase import SECOND_ORDER
from linear_theory.parallel.staleness.claims_rates import points, rate_spectrum

DEPTHS = (2, 3, 4)
# Of a deficit or squared angle: what a product and a 4 x 4 eigenproblem round to, with s_1 = 1.
ROUNDING = 1e-13
# Of the bound, for what the first-order law leaves out; it is estimated below a tenth of that.
ALLOWANCE = 10 * SECOND_ORDER
NEAR, LATE_ROUNDS = 1e-5, 4
# Deeper rounds reach the float floor before a second one can be measured.
LATE_DEPTHS = (2, 3)


class Starts(NamedTuple):
    """Targets (trials, m, d) behind k - 1 exact predecessors, their values (trials, d) with the
    zeros last, right vectors (trials, d, d) and unit directions to start from (trials, d)."""

    target: np.ndarray
    values: np.ndarray
    right: np.ndarray
    direction: np.ndarray


def _draw(key, trials) -> Starts:
    """Any start, from nearly orthogonal to v_1 to nearly there."""
    g, values = _values(key, trials)
    size = 10 ** g.uniform(-3, 1, (trials, 1))
    return _starts(g, values, size * g.normal(size=(trials, COLUMNS)))


def _draw_two_modes(key, trials) -> Starts:
    """What is off v_1 is in v_2 and, a little less, where the target is zero."""
    g, values = _values(key, trials)
    values[:, 2:] = 0
    values[:, 1] = g.uniform(0.7, 0.97, trials)
    off = np.zeros((trials, COLUMNS))
    off[:, 1], off[:, -1] = 1, g.uniform(0.3, 0.9, trials)
    return _starts(g, values, off * 10 ** g.uniform(-3, -1, (trials, 1)))


def _values(key, trials) -> tuple[np.random.Generator, np.ndarray]:
    g = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    values = separated_spectrum(g.random((trials, 2 + VALUES)))
    number = np.arange(trials) % RANK  # of predecessors
    index = np.arange(VALUES) + number[:, None]
    left = np.take_along_axis(values, np.minimum(index, VALUES - 1), 1)
    return g, np.where(index < VALUES, left, 0) / left[:, :1]


def _starts(g, values, off) -> Starts:
    trials = len(values)
    left = np.linalg.qr(g.normal(size=(trials, ROWS, VALUES)))[0]
    right = np.linalg.qr(g.normal(size=(trials, COLUMNS, VALUES)))[0]
    off[:, 0] = 1
    direction = (right @ off[:, :, None])[:, :, 0]
    target = (left * values[:, None]) @ np.swapaxes(right, 1, 2)
    return Starts(
        target, values, right, direction / np.linalg.norm(direction, axis=1, keepdims=True)
    )


@compiled
def _polish(target, direction, solver):
    def local(target, a):
        own = Components(jnp.zeros((1, ROWS)), a[None])
        view = View(target, own, jnp.zeros((1, 1)))
        return solver.local(None, view, own).a[0]

    return jax.vmap(local)(target, direction)


def _round(starts: Starts, solver) -> np.ndarray:
    """The unit direction of every instance after one round of the solver."""
    return _polish(starts.target, starts.direction, solver)


def _solver(depth: int, power: bool):
    return deflation.alternating(depth - 1) if power else deflation.krylov(depth)


def _cosine(starts: Starts, a) -> np.ndarray:
    return np.abs(np.sum(a * starts.right[:, :, 0], axis=1))


def _sine(starts: Starts, a) -> np.ndarray:
    """From the part off v_1 itself: no digits are lost at small angles."""
    return np.linalg.norm(np.einsum("td,tdi->ti", a, starts.right)[:, 1:], axis=1)


def _deficit(starts: Starts, a) -> np.ndarray:
    squares = starts.values**2
    parts = np.einsum("td,tdi->ti", a, starts.right) ** 2
    return np.sum((squares[:, :1] - squares) * parts, axis=1)


def _deficits(starts: Starts, power: bool = False) -> Evidence:
    parts = []
    before, cosine = _deficit(starts, starts.direction), _cosine(starts, starts.direction)
    for depth in DEPTHS:
        after = _deficit(starts, _round(starts, _solver(depth, power)))
        bound = krylov.deficit_bound(before, cosine, starts.values, depth)
        parts.append(Evidence(after, np.asarray(bound) + ROUNDING))
    return points(parts)


def _sines(starts: Starts, spread: bool = True) -> Evidence:
    parts = []
    tangent = _sine(starts, starts.direction) / _cosine(starts, starts.direction)
    for depth in DEPTHS if spread else DEPTHS[:1]:
        after = _sine(starts, _round(starts, deflation.krylov(depth)))
        if spread:
            bound = krylov.sine_bound(tangent, starts.values, depth)
        else:
            bound = tangent * krylov.chebyshev_factor(starts.values, depth)
        parts.append(Evidence(after, np.asarray(bound) + ROUNDING**0.5))
    return points(parts)


def _draw_late(key, trials):
    return draw(key, trials, rate_spectrum, near=True, size=NEAR)


def _late(problem, power: bool = False, current: bool = True) -> Evidence:
    """`current`: whether the fixed point is the one that the moving predecessors leave."""
    parts = []
    for depth in LATE_DEPTHS:
        recorded = run(problem, _solver(depth, power), rounds=LATE_ROUNDS)
        modes, values = recorded.trajectory.modes, recorded.values
        visible = modes[:, :-1] * current
        before = krylov.late_energy(modes[:, :-1], visible, values[:, None])
        after = krylov.late_energy(modes[:, 1:], visible, values[:, None])
        own = np.stack([_own_values(values, k) for k in range(RANK)], axis=1)
        bound = np.asarray(before) * np.asarray(krylov.chebyshev_factor(own, depth))[:, None]
        errors = np.cumsum(recorded.trajectory.error, axis=2)[:, :-1]
        gaps = (values[:, :RANK] - values[:, 1 : RANK + 1])[:, None]
        premise = errors**2 / gaps < SECOND_ORDER * bound
        parts.append(Evidence(np.asarray(after), (1 + ALLOWANCE) * bound, premise))
    return points(parts)


def _own_values(values: np.ndarray, k: int) -> np.ndarray:
    """Those of the target that worker k (from 0) is left with, its zeros last."""
    return np.concatenate([values[:, k:], np.zeros((len(values), k))], axis=1)


CLAIMS = (
    Claim(
        name="krylov.deficit",
        source="proved in krylov.deficit_bound; weaker in Kaniel 1966 and Saad 1980",
        statement="One Krylov round of depth q = 2, 3, 4 behind exact predecessors: what is "
        "missing of the largest |M_k a|^2. Any start.",
        formula="s_k^2 - |M_k a'|^2 <= (s_k^2 - |M_k a|^2) / cos^2 t / T_{q-1}(1 + 2 g)^2, "
        "g = (s_k^2 - s_{k+1}^2) / (s_{k+1}^2 - s_min^2)",
        kind="upper",
        status="new",
        instances=_draw,
        measure=_deficits,
        control=Control(
            "power iteration with the same number of products", lambda s: _deficits(s, power=True)
        ),
    ),
    Claim(
        name="krylov.angle",
        source="proved in krylov.sine_bound, after Kaniel 1966 and Saad 1980",
        statement="The angle of the direction that a Krylov round returns, behind exact "
        "predecessors; it is not the smallest of the span.",
        formula="sin(a', v_k) <= sqrt((s_k^2 - s_min^2) / (s_k^2 - s_{k+1}^2)) tan t "
        "/ T_{q-1}(1 + 2 g)",
        kind="upper",
        status="new",
        instances=_draw,
        measure=_sines,
        control=Control(
            "the bound of the span's best direction, without the square root, for q = 2",
            lambda s: _sines(s, spread=False),
            _draw_two_modes,
        ),
    ),
    Claim(
        name="krylov.late_round",
        source="proved in krylov.late_energy; no published counterpart",
        statement="Krylov rounds near the end, predecessors still moving: each contracts the "
        "distance to the fixed point that the predecessors leave now, to first order.",
        formula="e_{k,l} <= e'_{k,l-1} / T_{q-1}(1 + 2 g_k), e^2 = sum_{i>k} (s_k^2 - s_i^2) "
        "eps_{k,i}^2 + s_k^2 sum_{j<k} (eps_{k,j} + eps_{j,k,l-1})^2",
        kind="upper",
        status="new",
        instances=_draw_late,
        measure=_late,
        control=Control(
            "the fixed point of predecessors at rest", lambda p: _late(p, current=False)
        ),
    ),
)
