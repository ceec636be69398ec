"""What a run is made of: a static plan, the numbers that steer it, its progress and its end."""

from __future__ import annotations

import dataclasses
import enum
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import Components, norms
from deflation.rounds.decomposition import Decomposition
from deflation.rounds.options import Devices, Extensions, Publish, Stop
from rankwise import checks

if TYPE_CHECKING:
    from deflation.problem.regression import Regression
    from deflation.solvers.solver import Solver


class Status(enum.IntEnum):
    """Outcome of a run. `Status(code).advice` says what it means and what to do.

    CONVERGED is a claim about errors, whatever made the run stop: the bound of every component
    (`Solution.bounds`) is at most the tolerance times its size (sqrt(eps) where none was given), or
    at most what rounding leaves undecided, 16 eps max(||M||_F, sqrt(max(m, d)) s_1 / 8) (||M||_F of
    an operator is estimated). The others say of the first component that is not what is
    known of it.

    Example:
      >>> Status.BUDGET_SPENT.advice.startswith("the budget")
      True
    """

    CONVERGED = 0
    BUDGET_SPENT = 1
    SMALL_GAP = 2
    NOT_FINITE = 3
    NOT_PROVED = 4
    RANK_CUTS_GROUP = 5

    @property
    def advice(self) -> str:
        """What it means and what to do, in one sentence; {k} stands for the component."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "every component is within the tolerance, by its bound.",
    Status.BUDGET_SPENT: (
        "the budget is spent and component {k} is still moving: raise rounds (or the budget), "
        "or use more sweeps or steps per round."
    ),
    Status.SMALL_GAP: (
        "the spectral gap at component {k} is too small: the sum of the components is right, the "
        "single components around it are not determined. Use the sum, or another rank."
    ),
    Status.NOT_FINITE: (
        "NaN or infinity in component {k}: check the input for non-finite values, or lower the "
        "step_size of gradient descent."
    ),
    Status.NOT_PROVED: (
        "component {k} moves little, but its error is not proved to be within the tolerance: see "
        "bounds, raise rounds, lower the tolerance or stop by tolerance_of='error'."
    ),
    Status.RANK_CUTS_GROUP: (
        "component {k} and those after it are not determined, nor is the sum: the rank cuts "
        "through values that rounding does not tell apart. The residual is near its best; use "
        "another rank, or float64."
    ),
}


WAYS = ("sequential", "parallel", "joint")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The choices that a run is compiled for.

    Attributes:
      way: one of `WAYS`; sharded is "parallel" with a mesh.
      rank: number of components.
      passes_on: sequential: unused steps go to later components.
      publish, extensions, devices: see their classes.
      online: sequential: the total alone is given, see `budgets.online`.
    """

    way: str
    rank: int
    passes_on: bool
    publish: Publish
    extensions: Extensions
    devices: Devices
    online: bool = False


class Controls(NamedTuple):
    """Numbers that steer a run without recompiling it.

    stop: when a component is done, and when no other is added.
    steps: budget of every component (r,), used by sequential runs.
    threshold: what the rule `stop.grow` decides by, or None.
    unit: of M's size, in which the rounds are computed (units.py).
    """

    stop: Stop
    steps: jax.Array
    threshold: jax.Array | None
    unit: jax.Array


class Progress(NamedTuple):
    """Where a run stands: all that has to be saved. Component order, free of the device count.

    Attributes:
      factors: last gathered factors of all workers (r, .), in whitened coordinates.
      moved: ||R_k - R'_k|| of every component's last round (r,).
      earlier: the same of the two rounds before, oldest first (2, r).
      sizes: ||R_k|| of every component (r,).
      done: components that are finished (r,).
      spent: rounds every component worked (r,).
      active: number of components published so far.
      round: rounds run so far.
      key: the run's random key.
      past: the factors of the `staleness` rounds before `factors`, oldest first (staleness, r, .).
      past_active: what `active` was after those rounds (staleness,).
    """

    factors: Components
    moved: jax.Array
    earlier: jax.Array
    sizes: jax.Array
    done: jax.Array
    spent: jax.Array
    active: jax.Array
    round: jax.Array
    key: jax.Array
    past: Components
    past_active: jax.Array


class History(NamedTuple):
    """One row per round, in whitened (output) units.

    change: ||R_k,l - R_k,l-1||_F, shape (rounds, r). size: ||R_k,l||_F, shape (rounds, r).
    Components that are not published yet have the size that they have in private. On the host
    unless traced; a traced run that stops early leaves NaN in the rows it did not reach.
    """

    change: jax.Array
    size: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """A run between two calls of `advance`; a pytree. See `start`."""

    problem: Regression
    solver: Solver
    controls: Controls
    progress: Progress
    history: History
    plan: Plan = dataclasses.field(metadata={"static": True})


class Solution(NamedTuple):
    """Result of a run.

    Attributes:
      components: b (r, m), a (r, d) in original coordinates, largest first in exact arithmetic;
        beyond `rank` (online choice of the rank) they are zero.
      status: a `Status` (a plain integer array under jit or vmap).
      rounds: rounds run; for sequential runs the steps of all components together.
      history: change and size of every component, one row per round.
      rank: components kept, r unless the rank was chosen online.
      component: the component that the status speaks of, counted from 1; 0 for none.
      bounds: a bound on the error ||(R_k - R*_k) X||_F of every component (r,), R*_k the exact one
        (singular component of M), in output units; rounding is part of it. Where values coincide
        it is about as large as the component. Infinite where no bound was asked for.
      bound_of_sum: the same of the sum, ||(sum_k R_k - best of that rank) X||_F. It stays small
        where components are not determined but their sum is.
      proved: whether the bounds rest on no assumption; if not, they hold unless M has a direction
        with a larger singular value than any found off the components, which all residuals and
        random probes missed (bounds.py).
      decomposition: a `Decomposition`, of `exact` and `decompose`; None of a run.
    """

    components: Components
    status: Status | jax.Array
    rounds: jax.Array
    history: History
    rank: jax.Array
    component: jax.Array
    # Files of before there were bounds hold none.
    bounds: jax.Array | None = None
    bound_of_sum: jax.Array | None = None
    proved: jax.Array | None = None
    decomposition: Decomposition | jax.Array | None = None

    @property
    def message(self) -> str:
        """What the status means and what to do, with the component named; of a batch of runs how
        many ended in which way."""
        if checks.traced((self.status, self.component)):
            return "the status is not known while JAX traces: read it outside of jit, vmap and grad"
        codes = np.asarray(self.status)
        if not codes.ndim:
            return Status(int(codes)).advice.format(k=int(self.component))
        counts = [(code.name, int(np.sum(codes == code))) for code in Status]
        ended = ", ".join(f"{name} {count}" for name, count in counts if count)
        return f"{codes.size} runs: {ended}"

    def __repr__(self) -> str:
        if checks.traced(tuple(self)):
            return f"Solution(traced, {self.components.b.shape[-2]} components)"
        if np.ndim(self.status):
            return f"Solution({self.message})"
        name, rank, rounds = Status(int(self.status)).name, int(self.rank), int(self.rounds)
        line = f"Solution({name}, rank {rank}, {rounds} rounds"
        if self.bounds is None:
            return f"{line})"
        worst = int(np.argmax(self.bounds))
        largest, whole = float(self.bounds[worst]), float(self.bound_of_sum)
        return f"{line}, errors <= {largest:.1e} (component {worst + 1}), of the sum {whole:.1e})"


def initial_progress(
    factors: Components, key: jax.Array, active: int, staleness: int = 0
) -> Progress:
    """Progress before the first round; what lies before it is as at the start."""
    rank = factors.a.shape[0]
    return Progress(
        factors=factors,
        moved=jnp.full(rank, jnp.inf, factors.a.dtype),
        earlier=jnp.full((2, rank), jnp.inf, factors.a.dtype),
        sizes=norms(factors),
        done=jnp.zeros(rank, bool),
        spent=jnp.zeros(rank, jnp.int32),
        active=jnp.asarray(active, jnp.int32),
        round=jnp.zeros((), jnp.int32),
        key=key,
        past=Components(*(jnp.tile(rows, (staleness, 1, 1)) for rows in factors)),
        past_active=jnp.full(staleness, active, jnp.int32),
    )


def no_history(progress: Progress, rounds: int) -> History:
    """Empty rows (NaN) of a run of `rounds` rounds."""
    empty = jnp.full((rounds, progress.moved.shape[0]), jnp.nan, progress.moved.dtype)
    return History(empty, empty)


def recorded(history: History, row, progress: Progress) -> History:
    """The history with what a round has led to in its row."""
    return History(
        history.change.at[row].set(progress.moved),
        history.size.at[row].set(progress.sizes),
    )
