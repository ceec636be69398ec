"""Claims: how far errors of finite size at every step can grow, found by ascent.

Legend: as in `extremal`; b_k a_k^T is what step k takes, psi_k its distance from the best rank-one
approximation of what is left, D_j = M_j - sum_{k <= j} b_k a_k^T; M is diagonal.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, norm
from linear_theory.sequential.cascade import extremal

SIZE, STEPS, CLIMBS = 4, 3, 24
GAP = 1e-4  # T/s_2, where the limit T -> 0 is read off
TOLERANCE = GAP
OF_COMPONENT = 100 * GAP**2  # where terms of the order T were seen to vanish
SAFE = 0.5**0.5  # threshold at rho = 2, the largest


class Steps(NamedTuple):
    """values (n, 4), largest first; b, a (n, r, 4), what is taken beside the exact pairs."""

    values: np.ndarray
    b: np.ndarray
    a: np.ndarray


def _run(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """sum_{k <= j} psi_k and ||D_j||, j = 1, ..., r, (n, r).

    Step k takes (x + b_k)(s y + a_k)^T, (x, s, y) the top triple.
    """
    rest, errors, mismatch = steps.values[:, :, None] * np.eye(SIZE), [], []
    ideal = rest
    for k in range(steps.b.shape[1]):
        u, s, vt = np.linalg.svd(rest)
        # One sign of the pair, so that a change of the factors means the same in every run.
        sign = np.where(u[:, k, 0] < 0, -1, 1)[:, None]
        x, y = sign * u[..., 0], s[:, :1] * sign * vt[:, 0]
        taken = (x + steps.b[:, k])[:, :, None] * (y + steps.a[:, k])[:, None]
        rest = rest - taken
        ideal = np.where(np.arange(SIZE) == k, 0, ideal)
        errors.append(norm(taken - x[:, :, None] * y[:, None]))
        mismatch.append(norm(ideal - rest))
    return np.cumsum(np.stack(errors, axis=1), axis=1), np.stack(mismatch, axis=1)


def _least_gap(values: np.ndarray, count: int) -> np.ndarray:
    return np.min(-np.diff(values, axis=1)[:, :count], axis=1)


def draw_limits(key, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """values (n, 4) with s_2 = 1, s_1 up to 4, T = 1e-4; theta from the threshold to 2.

    Example:
      >>> import jax
      >>> draw_limits(jax.random.key(0), 2)[0].shape
      (2, 4)
    """
    rng = generator(key)
    first, last = 1 + GAP + rng.uniform(0, 3, trials), rng.uniform(0, 0.9, trials)
    values = np.stack([first, np.ones(trials), np.full(trials, 1 - GAP), last], axis=1)
    least = extremal.threshold(1 + 1 / first)
    return values, least + (2 - least) * rng.uniform(0, 1, trials)


def _limit(drawn, predicted=extremal.extremal_ratio) -> Evidence:
    values, theta = drawn
    steps = _as_steps(values, theta, count=2)
    errors, mismatch = (sides[:, -1] for sides in _run(steps))
    return Evidence(
        mismatch / errors, predicted(theta, 1 + values[:, 1] / values[:, 0]), True, TOLERANCE
    )


def _component(drawn, predicted=extremal.extremal_ratio) -> Evidence:
    values, theta = drawn
    b, a = extremal.extremal_step(values, theta, component=True)
    target = values[:, :, None] * np.eye(SIZE)
    u, s, vt = np.linalg.svd(target - b[:, :, None] * a[:, None])
    wrong = s[:, :1, None] * u[..., :1] * vt[:, :1]
    wrong[:, 1, 1] -= values[:, 1]
    target[:, 1:] = 0
    measured = norm(wrong) / norm(b[:, :, None] * a[:, None] - target)
    rho = 1 + values[:, 1] / values[:, 0]
    return Evidence(measured, predicted(theta, rho), True, OF_COMPONENT)


def _as_steps(values: np.ndarray, theta: np.ndarray, count: int) -> Steps:
    """The extremal first step, and exact ones after it."""
    b, a = extremal.extremal_step(values, theta)
    first = np.eye(SIZE)[0]
    later = np.zeros((len(values), count - 1, SIZE))
    own = (b - first)[:, None], (a - values[:, :1] * first)[:, None]
    return Steps(values, *(np.concatenate([part, later], axis=1) for part in own))


def draw_climbed(
    key, trials: int, theta: tuple[float, float] = (0.1, SAFE), climbs: int = CLIMBS
) -> Steps:
    """Errors at three steps with sum psi_k = theta T_min at most, after some steps uphill.

    Half of the instances begin at the extremal error, and with T_2 the least gap, the others at
    random ones. A random change of all factors is kept where it raises ||D_j|| in units of
    sum_{k <= j} psi_k.
    """
    rng, extreme = generator(key), np.arange(trials) % 2 == 0
    closeness = 10.0 ** rng.uniform(-3, -0.3, (trials, SIZE - 1))
    closeness[extreme] = np.sort(closeness[extreme], axis=1)[:, [1, 0, 2]]
    values, size = falling(1 - closeness), rng.uniform(*theta, trials)
    room = size * _least_gap(values, STEPS)

    def scaled(steps: Steps) -> Steps:
        share = (room / np.maximum(_run(steps)[0][:, -1], 1e-300))[:, None, None]
        return steps._replace(b=steps.b * share, a=steps.a * share)

    def chosen(where, steps: Steps, others: Steps) -> Steps:
        pairs = zip(steps[1:], others[1:], strict=True)
        return Steps(values, *(np.where(where[:, None, None], x, y) for x, y in pairs))

    changes = room[:, None, None] * rng.standard_normal((2, trials, STEPS, SIZE))
    start = _as_steps(values, np.maximum(size, 0.8), STEPS)
    best = scaled(scaled(chosen(extreme, start, Steps(values, *changes))))
    height, _ = _ratio(best)
    for climb in range(climbs):
        reach = 0.5 * 0.85**climb * room[:, None, None]
        b, a = reach * rng.standard_normal((2, trials, STEPS, SIZE))
        other = scaled(best._replace(b=best.b + b, a=best.a + a))
        ratio, errors = _ratio(other)
        better = (ratio > height) & (errors <= room)
        best, height = chosen(better, other, best), np.where(better, ratio, height)
    return best


def _ratio(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """max_j ||D_j|| / sum_{k <= j} psi_k, j >= 2, as for j = 1 it is one; and the sum of all."""
    errors, mismatch = _run(steps)
    return (mismatch / errors)[:, 1:].max(axis=1), errors[:, -1]


def _bounded(steps: Steps, most: float = SAFE) -> Evidence:
    errors, mismatch = _run(steps)
    gap = _least_gap(steps.values, STEPS)[:, None]
    return Evidence(mismatch[:, 1:], errors[:, 1:], errors[:, 1:] <= most * gap)


CLAIMS = (
    Claim(
        name="cascade.extremal",
        source="proved in cascade.extremal; found by gradient ascent through the run",
        statement="A rank-one error of the first step alone, of the size of the gap after it, is "
        "amplified by an exact second step: by the square of the error, which turns the second "
        "component. From psi = sqrt(2) T/rho on, at worst 0.71 T, the mismatch exceeds it.",
        formula="||D||/psi -> (1 + (rho theta)^2/2) / (sqrt(2) rho theta), T -> 0, theta = psi/T, "
        "rho = 1 + s_2/s_1",
        kind="fit",
        status="new",
        instances=draw_limits,
        measure=_limit,
        control=Control(
            "never amplified, as to first order",
            functools.partial(_limit, predicted=lambda theta, rho: np.ones_like(theta)),
        ),
    ),
    Claim(
        name="cascade.extremal_component",
        source="proved in cascade.extremal; found by gradient ascent through the run",
        statement="A rank-one error of the first step moves the second component by no more than "
        "itself while it is small, and by the same ratio as the mismatch from the threshold on. "
        "The gap alone, s_2/T, is the ratio of an arbitrary error.",
        formula="||R(M - b a^T) - R_2||/psi -> (1 + (rho theta)^2/2) / (sqrt(2) rho theta), T -> 0",
        kind="fit",
        status="new",
        instances=draw_limits,
        measure=_component,
        control=Control(
            "never moved by more than itself, as to first order",
            functools.partial(_component, predicted=lambda theta, rho: np.ones_like(theta)),
        ),
    ),
    Claim(
        name="cascade.mismatch_sum",
        source="observed, in ascents; arXiv 2505.22602 leaves open whether errors grow "
        "exponentially",
        statement="Rank-one errors at every step, with a sum below 0.71 of the least gap, do not "
        "grow: no start and no climb leads above the sum. With a sum of the least gap itself this "
        "is false.",
        formula="||D_j|| <= sum_{k <= j} psi_k where sum_k psi_k <= T_min/sqrt(2)",
        kind="upper",
        status="new",
        instances=draw_climbed,
        measure=_bounded,
        control=Control(
            "where sum_k psi_k <= 1.5 T_min",
            functools.partial(_bounded, most=1.5),
            functools.partial(draw_climbed, theta=(1.0, 1.5)),
        ),
    ),
)
