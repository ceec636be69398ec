"""How a run ended; the text of a status tells the user what to do."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """Outcome of a run. `Status(code).advice` says what it means and what to do.

    Example:
      >>> Status.BUDGET_SPENT.advice.startswith("the budget")
      True
    """

    CONVERGED = 0
    BUDGET_SPENT = 1
    SMALL_GAP = 2
    NOT_FINITE = 3

    @property
    def advice(self) -> str:
        """What it means and what to do, in one sentence; {k} stands for the component."""
        return _ADVICE[self]


_ADVICE = {
    Status.CONVERGED: "every component is within the tolerance.",
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
}
