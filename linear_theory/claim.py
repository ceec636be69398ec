"""What a claim is: a theorem as a checkable value that names its own failing neighbour.

A theorem enters the project as a `Claim`: words, a formula, and a function that measures both of
its sides on a batch of random instances. Nothing here returns a bare boolean; both sides come back
as arrays (`Evidence`), so that a reader sees by how much a bound holds. Every claim carries a
`Control`, a neighbouring statement that must fail: a check that cannot catch a wrong statement says
nothing about a right one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray

KINDS = ("upper", "lower", "identity", "fit", "mean")
STATUSES = ("as printed", "with a condition", "corrected", "refuted", "new")


class Evidence(NamedTuple):
    """Both sides of a statement, one entry per point.

    The leading axis is the instance; further axes are points of the same instance (components,
    rounds). A side is an array, all with the same number of axes, which broadcast against each
    other, or a scalar; `check` refuses other shapes.

    Attributes:
      measured: the observed side. For an identity this is the error between its two sides; for a
        mean it is one sample per instance, whose average is what the statement is about.
      bound: the stated side. For an identity, the tolerance that rounding explains; for a fit or a
        mean, the prediction.
      premise: boolean, where the statement's hypotheses hold; other points do not count.
      tolerance: for a fit, the largest |measured - bound| that agrees with the prediction.
    """

    measured: Array
    bound: Array
    premise: Array | bool = True
    tolerance: Array | float | None = None


Instances = Callable[[jax.Array, int], Any]
Measure = Callable[[Any], Evidence]


@dataclasses.dataclass(frozen=True)
class Control:
    """A neighbouring statement that must fail on at least 5% of its own instances.

    Attributes:
      statement: what was changed (an index shifted, the last term omitted, a constant cut).
      measure: both sides of the changed statement.
      instances: instances on which the change shows; the claim's own when None.
    """

    statement: str
    measure: Measure
    instances: Instances | None = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """A theorem as an executable value.

    Attributes:
      name: `module.statement`, in the field's terms.
      source: document and equation or theorem number.
      statement: one sentence in words, conditions included.
      formula: the statement in plain-text mathematics.
      kind: how measured and bound relate, one of `KINDS`.
        upper: measured <= bound. lower: measured >= bound. identity: error <= tolerance.
        fit: a rate or exponent within `tolerance` of its prediction.
        mean: the average within 3 standard errors + 1% of its prediction.
      status: what became of the printed statement, one of `STATUSES`.
      instances: (key, trials) -> a batch of random instances with leading axis `trials`.
      measure: batch -> Evidence.
      control: the neighbouring statement that must fail.
      figure: name of the figure that shows the claim, if there is one.

    Raises:
      ValueError: if kind or status is not in its list.
    """

    name: str
    source: str
    statement: str
    formula: str
    kind: str
    status: str
    instances: Instances
    measure: Measure
    control: Control
    figure: str | None = None

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind of claim {self.name} is {self.kind!r}; allowed are {KINDS}")
        if self.status not in STATUSES:
            raise ValueError(
                f"status of claim {self.name} is {self.status!r}; allowed are {STATUSES}"
            )
