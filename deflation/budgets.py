"""Iteration budgets: how many steps each component of a sequential run gets.

All of them return integers that sum exactly to the total.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np

from rankwise import checks

ORDERS = ("more", "equal", "less")


@dataclasses.dataclass(frozen=True)
class Budget:
    """Steps per component, first component first.

    Attributes:
      steps: one integer >= 1 per component.
      passes_on: give the steps that a component did not need (early stop on a tolerance) to the
        components after it.
      online: divide the total anew during the run, see `online`; of `steps` the sum alone counts.

    Example:
      >>> Budget((3, 2, 1)).total
      6
    """

    steps: tuple[int, ...]
    passes_on: bool = False
    online: bool = False

    def __post_init__(self):
        if not isinstance(self.steps, Sequence | np.ndarray) or isinstance(self.steps, str):
            raise ValueError(f"budget is {checks.shown(self.steps)}; allowed are integers >= 1")
        if len(self.steps) == 0:
            raise ValueError("budget is empty; allowed is one integer >= 1 per component")
        steps = tuple(checks.integer("budget", step, 1) for step in self.steps)
        object.__setattr__(self, "steps", steps)

    @property
    def total(self) -> int:
        """Sum of the steps."""
        return sum(self.steps)


def equal(rank: int, total: int, minimum: int = 1) -> Budget:
    """The same number of steps for every component, the remainder to the first ones.

    Raises:
      ValueError: a total smaller than rank * minimum.

    Example:
      >>> equal(3, 10).steps
      (4, 3, 3)
    """
    rank, total, minimum = _sizes(rank, total, minimum)
    each, more = divmod(total, rank)
    return Budget((each + 1,) * more + (each,) * (rank - more))


def alpha_family(rank: int, total: int, alpha: float, minimum: int = 2) -> Budget:
    """t_k = minimum + (total - r minimum) w_k / sum w, w_k = max(1 + alpha x_k, 1e-9), with x_k
    falling linearly from 1 at the first component to -1 at the last.

    alpha > 0 gives more to the first components, alpha < 0 to the last; beyond |alpha| = 1 the
    components at the poor end are clipped to the minimum, which is why the family saturates.

    Raises:
      ValueError: a total smaller than rank * minimum, or alpha not finite.

    Source: arXiv 2505.22602, Figure 1 and its released code (t_min = 2).

    Example:
      >>> alpha_family(20, 500, alpha=1.0).steps[0]
      48
    """
    alpha = checks.real("alpha", alpha)
    rank, total, minimum = _sizes(rank, total, minimum)
    position = np.linspace(1, -1, rank) if rank > 1 else np.zeros(1)
    return _split(rank, total, minimum, np.maximum(1 + alpha * position, 1e-9))


def linear_family(rank: int, total: int, order: str = "more", minimum: int = 2) -> Budget:
    """Steps proportional to a line from total / rank down to 2 ("more" to the first components),
    its reverse ("less"), or a constant ("equal"); at least `minimum` each.

    The released code truncates and floors, so that its sums miss the total; here they meet it.

    Raises:
      ValueError: an unknown order or a total smaller than rank * minimum.

    Source: arXiv 2505.22602, Figures 6 to 10.

    Example:
      >>> linear_family(3, 30, "more").steps
      (17, 10, 3)
    """
    checks.choice("order", order, ORDERS)
    rank, total, minimum = _sizes(rank, total, minimum)
    line = np.linspace(max(total // rank, 2), 2, rank)
    share = {"more": line, "less": line[::-1], "equal": np.ones(rank)}[order]
    target = share / share.sum() * total
    raised = np.maximum(target, minimum)
    # Lower those above the minimum by what raising the others cost.
    spare = raised - minimum
    excess = raised.sum() - total
    if excess > 0:
        raised = raised - spare * (excess / spare.sum())
    return Budget(_round_to_sum(raised, total))


def optimal(errors, rates, total: int, minimum: int = 1) -> Budget:
    """The steps that minimise sum_k c_k q_k^{t_k} over sum_k t_k = total, t_k >= minimum.

    c_k q_k^t is what is left of component k after t steps: of `alternating` q_k is
    (s_{k+1} / s_k)^{2 sweeps}, and c_k is s_k times the tangent of the angle it starts at, or s_k.
    One step after the other goes where it gains most, which is exact, as gains fall.

    Args:
      errors: c_k > 0, one per component, in any unit.
      rates: q_k in [0, 1), one per component.
      total, minimum: steps.

    Raises:
      ValueError: a total smaller than rank * minimum, errors or rates out of range, or not one rate
        for each error.

    Source: the claims `budgets.optimal` and `budgets.recovery`. It is for the components: for their
    sum alone, later components deserve more (`budgets.later_first`).

    Example:
      >>> values = np.array([1.0, 0.9, 0.3, 0.1])
      >>> optimal(values[:3], (values[1:] / values[:3]) ** 2, 30).steps
      (24, 3, 3)
    """
    errors, rates = np.asarray(errors, float), np.asarray(rates, float)
    if errors.ndim != 1 or not np.all((errors > 0) & np.isfinite(errors)):
        raise ValueError(f"errors is {checks.shown(errors)}; allowed are numbers > 0")
    if rates.shape != errors.shape or not np.all((rates >= 0) & (rates < 1)):
        raise ValueError(
            f"rates is {checks.shown(rates)}; allowed are {len(errors)} numbers in [0, 1)"
        )
    rank, total, minimum = _sizes(len(errors), total, minimum)
    # In logarithms: what is left of a component passes below the smallest number.
    fall = np.log(np.maximum(rates, np.finfo(float).tiny))
    gains = np.log(errors) + np.log1p(-rates) + minimum * fall
    steps, heap = [minimum] * rank, [(-gain, k) for k, gain in enumerate(gains)]
    heapq.heapify(heap)
    for _ in range(total - rank * minimum):
        gain, k = heap[0]
        steps[k] += 1
        heapq.heapreplace(heap, (gain - fall[k], k))
    return Budget(tuple(steps))


def adaptive(budget: Budget) -> Budget:
    """The same budget with unused steps passed on to later components.

    Example:
      >>> adaptive(equal(2, 10)).passes_on
      True
    """
    checks.instance("budget", budget, Budget, "a Budget")
    return dataclasses.replace(budget, passes_on=True)


def online(rank: int, total: int) -> Budget:
    """A total that the run divides by what it sees of each component, no rate being known before.

    What is left of component k falls as c e^{-t/w}: w, the rounds that it takes to fall by a factor
    of e, and what is left, come from the last moves (`stopping.remaining`). A component ends when
    the rounds not used yet would bring all later ones as far, if each began at the size of this one
    and took (mean + largest)/2 of the w_j seen up to now. So a fast component hands on rounds, and
    a slow one has more than its share. The mean alone is what later components are expected to
    need; with the largest, hardly a spectrum is worse off than with equal steps.

    Every component has a round at least, component k at most 2 k / (2 k + (k + 1) (rank - k)) of
    the rounds that are left, which for the first is the equal share; a component that moves by
    rounding alone ends. The last has all that is left.

    Raises:
      ValueError: a total smaller than the rank.

    Source: the claims `budgets.online` and `budgets.online_worst`; steps from error estimates are
    named as future work in arXiv 2505.22602, section 7.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, sequential
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([1.0, 0.1, 0.09, 0.02])))
      >>> equally, chosen = (sequential(problem, 3, budget=of(3, 30)) for of in (equal, online))
      >>> bool(chosen.bounds.max() < equally.bounds.max() / 2)
      True
    """
    return dataclasses.replace(equal(rank, total), online=True)


def as_budget(budget: Budget | int | Sequence[int], rank: int) -> Budget:
    """A Budget for `rank` components from a Budget, a total (split equally), or the steps.

    Raises:
      ValueError: a total smaller than the rank, or another number of components.
    """
    if isinstance(budget, Budget):
        result = budget
    elif isinstance(budget, Sequence | np.ndarray) and np.ndim(budget):  # a text has no axis
        result = Budget(tuple(budget))
    else:
        result = equal(rank, checks.integer("budget", budget, rank, why=f" (the rank is {rank})"))
    if len(result.steps) != rank:
        raise ValueError(
            f"budget has {len(result.steps)} entries; allowed is one for each of {rank} components"
        )
    return result


def _sizes(rank, total, minimum) -> tuple[int, int, int]:
    rank = checks.integer("rank", rank, 1)
    minimum = checks.integer("minimum", minimum, 1)
    why = f" (rank {rank} times minimum {minimum})"
    return rank, checks.integer("total", total, rank * minimum, why=why), minimum


def _split(rank: int, total: int, minimum: int, weights: np.ndarray) -> Budget:
    # Large weights must not overflow when they are scaled.
    weights = weights / weights.max()
    return Budget(
        _round_to_sum(minimum + (total - rank * minimum) * weights / weights.sum(), total)
    )


def _round_to_sum(values: np.ndarray, total: int) -> tuple[int, ...]:
    """Floors, and gives what is missing to the largest remainders (the earlier one on a tie).

    A whole number that rounding put below itself has the largest remainder and gets it back.
    """
    steps = np.floor(values).astype(int)
    order = np.argsort(-(values - steps), kind="stable")
    steps[order[: total - steps.sum()]] += 1
    return tuple(int(step) for step in steps)
