"""Ranks of many maps for one size: equal shares, one relative error for all, or the least sum.

Legend: module j has the errors e_j(r), r = 0, 1, ..., its energy e_j(0) and in_j out_j numbers as
it is; c_j(r) is the cost of rank r in a form. A plan gives every module a rank, or None where it
stays as it is; sum_j c_j(r_j) <= ratio sum_j in_j out_j.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from finetune.compression import forms
from rankwise import checks

PLANS = ("uniform", "threshold", "lagrangian")
Ranks = dict[str, int | None]


class Curve(NamedTuple):
    """What a module offers.

    Attributes:
      shape: (in, out).
      errors: (k + 1,), the least output error of each rank from 0 on.
    """

    shape: tuple[int, int]
    errors: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """Errors over the energy, 0 of a module without any."""
        return self.errors / self.errors[0] if self.errors[0] else 0 * self.errors


def plan(name: str, curves: Mapping[str, Curve], ratio: float, form: str = "factors") -> Ranks:
    """The ranks of a plan.

    uniform: the largest rank within the ratio of each module. threshold: the least e such that the
    least ranks with e_j(r) <= e e_j(0) fit: no plan of that size has a smaller worst relative
    error, though others may have a smaller sum. lagrangian: argmin of e_j(r) / e_j(0) + mu c_j(r)
    with the least mu that fits: the least sum of relative errors of all plans of its size.

    A smaller sum of output errors is no better network: compare the plans by a held-out score.

    Args:
      name: one of PLANS.
      curves: module path -> its curve.
      ratio: share of the numbers that is left, in (0, 1).
      form: of `forms.FORMS`.

    Raises:
      ValueError: an unknown plan or form, a ratio outside (0, 1) or too small for a rank of 1.

    Example:
      >>> steep = Curve((10, 10), np.array([8.0, 1.0, *[0.0] * 9]))
      >>> flat = Curve((10, 10), np.arange(11.0)[::-1])
      >>> plan("uniform", {"key": steep, "value": flat}, 0.6)
      {'key': 3, 'value': 3}
      >>> plan("threshold", {"key": steep, "value": flat}, 0.6)
      {'key': 1, 'value': None}
    """
    checks.choice("plan", name, PLANS)
    require_ratio(ratio, [curve.shape for curve in curves.values()], form)
    tables = {path: _Choices(curve, form) for path, curve in curves.items()}
    if name == "uniform":
        return {p: forms.largest_rank(form, *c.shape, ratio) for p, c in curves.items()}
    budget = ratio * sum(np.prod(curve.shape) for curve in curves.values())
    if name == "threshold":
        return _largest_that_fits(tables, budget, *_levels(tables))
    return _lagrangian(tables, budget)


def require_ratio(ratio: float, shapes: Iterable[tuple[int, int]], form: str) -> None:
    """Raises a ValueError unless the ratio is in (0, 1) and leaves every map a rank of 1."""
    checks.choice("form", form, forms.FORMS)
    if not 0 < checks.real("ratio", ratio) < 1:
        raise ValueError(
            f"ratio is {ratio:g}; allowed are numbers between 0 and 1: the share of the numbers in "
            "linear maps that is left"
        )
    least = max(forms.cost(form, *shape, 1) / np.prod(shape) for shape in shapes)
    if ratio < least:
        raise ValueError(f"ratio is {ratio:g}; allowed are at least {least:.3g}, a rank of 1 each")


def spent(ranks: Ranks, curves: Mapping[str, Curve], form: str) -> int:
    """Numbers that the maps take in all."""
    return sum(
        int(np.prod(curves[p].shape)) if r is None else forms.cost(form, *curves[p].shape, r)
        for p, r in ranks.items()
    )


class _Choices:
    """Ranks from 1 on that cost less than the map itself, and last the map itself."""

    def __init__(self, curve: Curve, form: str):
        whole = int(np.prod(curve.shape))
        ranks = np.arange(1, len(curve.errors))
        costs = forms.cost(form, *curve.shape, ranks)
        ranks = ranks[costs < whole]
        self.ranks: list[int | None] = [*map(int, ranks), None]
        self.costs = np.append(costs[: len(ranks)], whole)
        self.errors = np.append(curve.relative[ranks], 0.0)

    def within(self, level: float) -> int:
        """The cheapest choice of at most this relative error."""
        return int(np.argmax(self.errors <= level))

    def at_price(self, price: float) -> int:
        """The choice of the least error and price; of equal ones the cheapest."""
        return int(np.argmin(self.errors + price * self.costs))


def _levels(tables):
    levels = np.unique(np.concatenate([table.errors for table in tables.values()]))
    return levels, lambda table, level: table.within(level)


def _largest_that_fits(tables, budget, levels, choose) -> Ranks:
    """The choices at the first of ascending levels whose costs fit; costs fall along them."""
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        cost = sum(t.costs[choose(t, levels[middle])] for t in tables.values())
        low, high = (low, middle) if cost <= budget else (middle + 1, high)
    return {path: t.ranks[choose(t, levels[low])] for path, t in tables.items()}


def _lagrangian(tables, budget) -> Ranks:
    # Prices from where every error counts to where none does, finer than a component's gain.
    cheapest = min(table.costs[0] for table in tables.values())
    prices = np.concatenate([[0.0], np.geomspace(1e-20, 2.0, 1 << 16) / cheapest])
    return _largest_that_fits(tables, budget, prices, lambda table, price: table.at_price(price))
