"""How soon, and how far: Figure 10, and the error as a function of the budget beside it."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from deflation import Regression, budgets
from linear_theory.instances.setting import Setting, float64, normalised
from linear_theory.sequential.descent import descend

STOP = 1e-5  # a component ends when an iteration changes the training error by less
PUBLISHED = (8000, 4000, 10000)  # of more, equal, less: not the same for all


@float64
def thresholds(
    setting: Setting,
    *,
    levels=(4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.7, 0.5),
    unequal=PUBLISHED,
    same: int = 8000,
) -> dict:
    """First iteration with ||W - W_t||_F <= level, power-law spectrum at ||W||_F = sqrt(r).

    Components end early by the rule `STOP` and pass their iterations on. The error is counted when
    a component is finished ("staircase", as released), or after every iteration ("smooth"). Of the
    published levels, 5 and 4.5 are left out: ||W|| itself is below them.

    Returns:
      levels (L,), orders (S,), budgets (2, S): the published unequal ones and equal ones;
      staircase and smooth, (2, S, N, L), NaN where a level is never reached.

    Source: arXiv 2505.22602, Figure 10.
    """
    drawn = setting.draw(normalised("power", setting.rank))
    problem = Regression.from_data(drawn.x, drawn.y)
    given = [list(unequal), [same] * len(budgets.ORDERS)]

    longest = max(same, *unequal)

    def firsts(order: str, total: int):
        steps = np.asarray([budgets.linear_family(setting.rank, total, order).steps])
        first = setting.first_factors()
        given = (problem, drawn.truth, setting.solver, steps, first)
        run = descend(*given, stop=STOP, rounds=longest)  # one program for all budgets
        errors, component = np.asarray(run.reconstruction[0]), np.asarray(run.component[0])
        steps_taken = staircase(errors, component, float(jnp.linalg.norm(drawn.truth)))
        return first_below(steps_taken, levels), first_below(errors, levels)

    measured = [[firsts(o, t) for o, t in zip(budgets.ORDERS, row, strict=True)] for row in given]
    return {
        "levels": levels,
        "orders": budgets.ORDERS,
        "budgets": given,
        "staircase": np.asarray([[both[0] for both in row] for row in measured]),
        "smooth": np.asarray([[both[1] for both in row] for row in measured]),
    }


@float64
def horizon(
    setting: Setting,
    *,
    totals=(250, 500, 1000, 1400, 2000, 2800, 4000, 5600, 8000),
    orders=budgets.ORDERS,
) -> dict:
    """Relative reconstruction error at the end, as a function of the budget; exponential spectrum.

    The better question behind Figure 10: the same budget for all schedules, the error judged when
    it is spent.

    Returns:
      totals (B,), orders (S,), reconstruction (B, S, N).
    """
    drawn = setting.draw("exponential")
    problem = Regression.from_data(drawn.x, drawn.y)
    ends = []
    for total in totals:
        steps = np.asarray([budgets.linear_family(setting.rank, total, o).steps for o in orders])
        first = setting.first_factors()
        run = descend(problem, drawn.truth, setting.solver, steps, first, record="end")
        ends.append(run.reconstruction[..., 0] / jnp.linalg.norm(drawn.truth))
    return {"totals": totals, "orders": orders, "reconstruction": jnp.stack(ends)}


def staircase(errors: np.ndarray, component: np.ndarray, start: float) -> np.ndarray:
    """The error of finished components alone: `errors` held at its value at the last finish.

    Args:
      errors: (N, T), after every iteration.
      component: what every iteration worked on, (N, T).
      start: the value before any component is finished.

    Returns:
      (N, T). The last iteration finishes the last component.

    Example:
      >>> errors = np.array([[0.9, 0.7, 0.4, 0.3]])
      >>> staircase(errors, np.array([[0, 0, 1, 1]]), 1.0).tolist()
      [[1.0, 0.7, 0.7, 0.3]]
    """
    index = np.arange(errors.shape[-1])
    finishes = np.diff(component, axis=-1, append=component[..., -1:] + 1) > 0
    last = np.maximum.accumulate(np.where(finishes, index, -1), axis=-1)
    last_error = np.take_along_axis(errors, np.maximum(last, 0), axis=-1)
    return np.where(last >= 0, last_error, start)


def first_below(errors: np.ndarray, levels) -> np.ndarray:
    """First iteration, from 1, at which errors (N, T) are at most each level; NaN for never."""
    below = errors[..., None, :] <= np.asarray(levels)[:, None]
    return np.where(below.any(axis=-1), below.argmax(axis=-1) + 1.0, np.nan)
