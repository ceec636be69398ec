"""What a run is asked for: when it stops, what it publishes, which extensions act, where it runs.

An option is a field of one of these records and a keyword argument of the ways that read it;
`start` takes them by name, and `Plan` and `Controls` hold the records as they are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from deflation.growth import Rule, check_rule
from deflation.problem.regression import Regression
from rankwise import checks

PARALLEL = ("parallel", "sharded")
ORDERED = ("sequential", *PARALLEL)
METHODS = (*ORDERED, "joint")
MEASURES = ("move", "error")


# What says which methods read a field.
_OF_ALL, _OF_ORDERED = {"methods": METHODS}, {"methods": ORDERED}
_OF_SEQUENTIAL, _OF_PARALLEL = {"methods": ("sequential",)}, {"methods": PARALLEL}
_OF_SHARDED = {"methods": ("sharded",)}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stop:
    """When a component is done, and when no other is added; a pytree.

    Attributes:
      tolerance: relative change, or error, at which a component counts as done; None, and in a run
        -1, for never.
      tolerance_of: what the tolerance is held against, one of `MEASURES`.
      grow: online choice of the rank, or None.
    """

    tolerance: float | jax.Array | None = dataclasses.field(default=None, metadata=_OF_ALL)
    tolerance_of: str = dataclasses.field(default="move", metadata=_OF_ALL | {"static": True})
    grow: Rule | None = dataclasses.field(default=None, metadata=_OF_ORDERED)

    def check(self, problem: Regression) -> None:
        """Raises ValueError for a value outside its range, or a rule that the problem cannot
        answer. Not when it is made: a pytree is also made of what is no number."""
        if self.tolerance is not None:
            checks.positive("tolerance", self.tolerance, zero=True)
        checks.choice("tolerance_of", self.tolerance_of, MEASURES)
        check_rule(self.grow, problem)


@dataclasses.dataclass(frozen=True)
class Publish:
    """Which factors of others a parallel worker subtracts.

    Attributes:
      staggered: worker k publishes from round k on, not from the first.
      advance: workers that do not publish yet already refine in private.
      staleness: how many rounds the predecessors that a worker subtracts are behind the last one.
    """

    staggered: bool = dataclasses.field(default=True, metadata=_OF_PARALLEL)
    advance: bool = dataclasses.field(default=True, metadata=_OF_PARALLEL)
    staleness: int = dataclasses.field(default=0, metadata=_OF_PARALLEL)

    def __post_init__(self):
        for name in ("staggered", "advance"):
            object.__setattr__(self, name, checks.flag(name, getattr(self, name)))
        object.__setattr__(self, "staleness", checks.integer("staleness", self.staleness, 0))


@dataclasses.dataclass(frozen=True)
class Extensions:
    """What the paper names as future work; all are off by default.

    Attributes:
      orthogonal: project new factors on the complement of their predecessors.
      reoptimise: after every such number of components, one round for each earlier component
        against all others; 0 is never.
      full_rank: after every such number of components, one joint least-squares step of the whole
        model; 0 is never.
    """

    orthogonal: bool = dataclasses.field(default=False, metadata=_OF_ORDERED)
    reoptimise: int = dataclasses.field(default=0, metadata=_OF_SEQUENTIAL)
    full_rank: int = dataclasses.field(default=0, metadata=_OF_SEQUENTIAL)

    def __post_init__(self):
        object.__setattr__(self, "orthogonal", checks.flag("orthogonal", self.orthogonal))
        for name in ("reoptimise", "full_rank"):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), 0))


@dataclasses.dataclass(frozen=True)
class Devices:
    """Where a run goes on.

    Attributes:
      mesh: the device mesh of a sharded run; None on one device (as an option: all devices).
      axis_name: the mesh axis that workers are dealt along.
      row_axis: the mesh axis that the rows of M are cut along; None where each device holds all.
    """

    mesh: jax.sharding.Mesh | None = dataclasses.field(default=None, metadata=_OF_SHARDED)
    axis_name: str = dataclasses.field(default="worker", metadata=_OF_ALL)
    row_axis: str | None = dataclasses.field(default=None, metadata=_OF_SHARDED)


RECORDS = (Stop, Publish, Extensions, Devices)
FIELDS = {field.name: field for record in RECORDS for field in dataclasses.fields(record)}


def records(method: str, options: dict[str, Any]) -> tuple[Stop, Publish, Extensions, Devices]:
    """The options of a run, given by name, in their records.

    Raises:
      ValueError: an option that the method does not read, with another value than its default.
      TypeError: a name that is no option.

    Example:
      >>> stop, publish, *_ = records("parallel", {"tolerance": 0.1, "staleness": 2})
      >>> stop.tolerance, publish.staleness
      (0.1, 2)
    """
    for name, value in options.items():
        if name not in FIELDS:
            raise TypeError(f"start() got an unexpected keyword argument {name!r}")
        default, methods = FIELDS[name].default, FIELDS[name].metadata["methods"]
        if method not in methods and value is not default:
            raise ValueError(
                f"{name} is {checks.shown(value)}; allowed with method {method!r} is {default!r}"
            )
    names = [record.__dataclass_fields__ for record in RECORDS]
    chosen = [{name: options[name] for name in own if name in options} for own in names]
    return tuple(record(**given) for record, given in zip(RECORDS, chosen, strict=True))
