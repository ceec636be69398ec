"""How a run ended; the text of a status tells the user what to do."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """Outcome of a run. `Status(code).advice` says what it means and what to do.

    CONVERGED is a claim about errors, whatever made the run stop: the bound of every component
    (`Solution.bounds`) is at most the tolerance times its size (sqrt(eps) where none was given), or
    at most what rounding leaves undecided, 8 eps max(||M||_F, sqrt(max(m, d)) s_1 / 8) (||M||_F of
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
