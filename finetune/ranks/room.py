"""The largest rank of a module, where a method deals a budget out to modules by itself."""

from __future__ import annotations


def largest(rank: int | None, budget: int | None, modules: int, least: int) -> int:
    """max(least, 2 ceil(B / p)), where no rank is given: p modules can share a budget of B
    components unevenly, as one of them may have twice its share.

    Args:
      rank: the one that is given, which stays.
      budget: B, over all modules; None is no more than two per module.
      modules: p.
      least: for small budgets.

    Example:
      >>> [largest(None, budget, 36, 4) for budget in (None, 36, 72, 144)], largest(3, 144, 36, 4)
      ([4, 4, 4, 8], 3)
    """
    if rank is not None:
        return rank
    return max(least, 2 * -(-(budget or 0) // modules))
