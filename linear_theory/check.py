"""Hold a claim and its control against random instances, in float64.

The data's way: `check` draws a batch of instances from the claim, asks for both sides, and reduces
them to one `Row`. The control goes through the same code; only the verdict is read the other way.
"""

from __future__ import annotations

import math
import time
import zlib
from typing import NamedTuple

import jax
import numpy as np

from linear_theory.claim import Claim, Evidence

# A bound is violated when the measured side exceeds it by more than rounding explains. Instances
# have unit scale, so that an absolute floor has a meaning. An identity and a fit have no slack
# besides their tolerance.
RELATIVE_SLACK = 1e-9
ABSOLUTE_SLACK = 1e-12
EPS = np.finfo(np.float64).eps
# A control counts as caught when it fails at this share of its points, or for a mean at all.
CAUGHT = 0.05
# Rounding is worst case over directions and its sums are not: a tolerance that it explains may be
# some hundred times the largest deviation. A thousand times says nothing.
WIDEST = 1000


class Row(NamedTuple):
    """One line of the evidence table.

    `premises_met` counts instances with at least one point at which the hypotheses hold;
    `violations` counts points. Tightness is bound over measured (inverted for a lower bound, so
    that 1 is sharp and larger is looser), over points at which both exceed the absolute slack.
    `tolerance_used` is the largest deviation of an identity or a fit in units of its tolerance, NaN
    for other kinds; a deviation below eps counts as eps, as instances have unit scale.
    """

    claim: str
    source: str
    trials: int
    premises_met: int
    violations: int
    tightness_min: float
    tightness_median: float
    control_caught: bool
    seconds: float
    control_share: float
    tolerance_used: float

    @property
    def tolerance_explained(self) -> bool:
        """False for a tolerance that no deviation comes near: it would let a wrong constant pass.

        True for the kinds without tolerance.
        """
        return not self.tolerance_used < 1 / WIDEST

    @property
    def holds(self) -> bool:
        """True when there were instances, none was violated and the control was caught."""
        return self.premises_met > 0 and self.violations == 0 and self.control_caught


class _Verdict(NamedTuple):
    premise: np.ndarray  # (instances, points)
    violated: np.ndarray  # (instances, points); (1, points) for a mean
    tightness: np.ndarray  # flat, over the points that have one
    used: float = math.nan


def check(claim: Claim, key: jax.Array, trials: int) -> Row:
    """Checks `claim` on `trials` random instances, and its control on as many.

    Args:
      claim: the claim.
      key: a typed JAX key; the claim's name is folded in, so rows do not depend on each other.
      trials: number of instances, at least 1.

    Returns:
      The row of the evidence table. Everything is computed in float64.

    Raises:
      ValueError: if trials < 1.

    Example:
      >>> import jax
      >>> from linear_theory import check, registry
      >>> row = check(registry()["perturbation.weyl"], jax.random.key(0), trials=8)
      >>> row.violations, row.control_caught
      (0, True)
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}; allowed are integers >= 1")
    started = time.perf_counter()
    with jax.enable_x64(True):
        key = jax.random.fold_in(key, zlib.crc32(claim.name.encode()))
        key_claim, key_control = jax.random.split(key)
        verdict = _judge(claim.kind, claim.measure(claim.instances(key_claim, trials)))
        draw = claim.control.instances or claim.instances
        evidence = claim.control.measure(draw(key_control, trials))
        opposite = _judge(claim.kind, evidence, undefined_violates=False)
    share = _share_violated(claim.kind, opposite)
    tightness = verdict.tightness
    return Row(
        claim=claim.name,
        source=claim.source,
        trials=trials,
        premises_met=int(verdict.premise.any(axis=1).sum()),
        violations=int(verdict.violated.sum()),
        tightness_min=float(tightness.min()) if tightness.size else float("nan"),
        tightness_median=float(np.median(tightness)) if tightness.size else float("nan"),
        control_caught=bool(share >= CAUGHT),
        seconds=time.perf_counter() - started,
        control_share=float(share),
        tolerance_used=verdict.used,
    )


def _judge(kind: str, evidence: Evidence, undefined_violates: bool = True) -> _Verdict:
    """Where the statement fails. NaN must never help: it violates a claim, and no control."""
    measured, bound, premise, tolerance = _points(kind, evidence)
    undefined = (np.isnan(measured) | np.isnan(bound) | np.isnan(tolerance)) & premise
    if kind == "mean":
        verdict = _judge_mean(measured, bound, premise)
        undefined = undefined.any(axis=0, keepdims=True)
    else:
        # No inf - inf below: an infinite bound has no slack and is compared as it is, so that an
        # upper bound of +inf always holds and one of -inf never does.
        slack = np.where(np.isfinite(bound), RELATIVE_SLACK * np.abs(bound) + ABSOLUTE_SLACK, 0.0)
        used = math.nan
        if kind == "lower":
            right = measured >= bound - slack
        elif kind == "upper":
            right = measured <= bound + slack
        else:
            with np.errstate(invalid="ignore"):  # inf - inf is NaN, which agrees with nothing
                deviation = measured if kind == "identity" else np.abs(measured - bound)
            tolerance = bound if kind == "identity" else tolerance
            right = deviation <= tolerance
            used = _used(deviation[premise], tolerance[premise])
        tightness = _tightness(kind, measured, bound, premise)
        verdict = _Verdict(premise, ~right & premise, tightness, used)
    if undefined_violates:
        return verdict._replace(violated=verdict.violated | undefined)
    return verdict._replace(violated=verdict.violated & ~undefined)


def _judge_mean(measured, bound, premise) -> _Verdict:
    counts = premise.sum(axis=0)
    counted = counts > 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        average = np.where(premise, measured, 0.0).sum(axis=0) / counts
        squares = np.where(premise, (measured - average) ** 2, 0.0).sum(axis=0)
        spread = np.sqrt(squares / np.maximum(counts - 1, 1))
        prediction = np.where(premise, bound, 0.0).sum(axis=0) / counts
        allowed = 3 * spread / np.sqrt(counts) + 0.01 * np.abs(prediction)
        right = np.isfinite(prediction) & (np.abs(average - prediction) <= allowed)
    tightness = _tightness("mean", average[None], prediction[None], counted[None])
    return _Verdict(premise, (~right & counted)[None], tightness)


def _points(kind: str, evidence: Evidence) -> tuple[np.ndarray, ...]:
    """The four sides as (instances, points) arrays; the tolerance is 0 where the kind has none."""
    if kind == "fit" and evidence.tolerance is None:
        raise ValueError("tolerance of the evidence is None; a fit needs a number or an array")
    tolerance = evidence.tolerance if kind == "fit" else 0.0
    sides = [
        np.asarray(s) for s in (evidence.measured, evidence.bound, evidence.premise, tolerance)
    ]
    axes = {side.ndim for side in sides if side.ndim}
    if len(axes) != 1:
        # numpy would align a side of one entry per instance with the last axis: the points.
        raise ValueError(
            "the sides of the evidence (measured, bound, premise, tolerance) have shapes "
            f"{[side.shape for side in sides]}; allowed are scalars beside arrays that all have "
            "the same number of axes, the instance first"
        )
    sides = np.broadcast_arrays(*sides)
    shape = (sides[0].shape[0], math.prod(sides[0].shape[1:]))
    kinds = (np.float64, np.float64, bool, np.float64)
    return tuple(side.astype(dt).reshape(shape) for side, dt in zip(sides, kinds, strict=True))


def _tightness(kind, measured, bound, premise) -> np.ndarray:
    # Two values at the level of rounding have no meaningful ratio.
    usable = premise & (np.minimum(measured, bound) > ABSOLUTE_SLACK)
    usable &= np.isfinite(bound) & np.isfinite(measured)
    top, bottom = (measured, bound) if kind == "lower" else (bound, measured)
    with np.errstate(over="ignore"):  # a measured value next to nothing
        return top[usable] / bottom[usable]


def _used(deviation, tolerance) -> float:
    """The largest share of the tolerance, 1 for a statement on numbers that do not round."""
    exact = (deviation == 0) & (tolerance == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = np.where(exact, 1.0, np.maximum(deviation, EPS) / tolerance)
    return float(used.max()) if used.size else math.nan


def _share_violated(kind: str, verdict: _Verdict) -> float:
    if kind == "mean":
        return float(verdict.violated.any())
    # The share of instances, as the claim's own premises are counted.
    met = verdict.premise.any(axis=1)
    return float(verdict.violated.any(axis=1)[met].mean()) if met.any() else 0.0
