"""Ranks of many modules from their singular values: one rank, a share of energy, or a budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from finetune.algebra.spectra import Spectrum
from rankwise import checks

Spectra = Mapping[str, Spectrum]


def of_rank(spectra: Spectra, rank: int) -> dict[str, int]:
    """`rank` everywhere, less where a change has less.

    Raises:
      ValueError: a rank below 1.
    """
    checks.integer("rank", rank, 1)
    return {path: min(rank, len(s.values)) for path, s in spectra.items()}


def of_energy(spectra: Spectra, energy: float) -> dict[str, int]:
    """Per module the least r with sum_{i<=r} s_i^2 >= energy ||a b||^2.

    Raises:
      ValueError: an energy outside (0, 1].

    Example:
      >>> from finetune.adapters.method import Factors
      >>> from finetune.algebra.spectra import spectrum
      >>> of_energy({"fc": spectrum(Factors(np.eye(2), np.diag([3.0, 1.0])))}, 0.85)
      {'fc': 1}
    """
    if not 0 < checks.real("energy", energy) <= 1:
        raise ValueError(f"energy is {energy}; allowed are numbers above 0 and up to 1")
    return {path: _least(s.values, 1 - energy) for path, s in spectra.items()}


def of_budget(spectra: Spectra, budget: float) -> dict[str, int]:
    """max sum of s_ji^2 over all modules with sum_j r_j (in_j + out_j) <= budget.

    Components are taken by s^2 / (in + out) until the next one is too large: no choice of that
    size has a smaller total error, and the plan of a smaller budget is part of that of a larger.

    Raises:
      ValueError: a budget that holds no component at all.

    Example:
      >>> from finetune.adapters.method import Factors
      >>> from finetune.algebra.spectra import spectrum
      >>> large, small = (spectrum(Factors(np.eye(2), s * np.eye(2))) for s in (3.0, 1.0))
      >>> of_budget({"key": large, "value": small}, 12)
      {'key': 2, 'value': 1}
    """
    checks.positive("budget", budget)
    names = list(spectra)
    owners = np.repeat(np.arange(len(names)), [len(spectra[name].values) for name in names])
    costs = np.array([spectra[name].cost for name in names], int)[owners]
    squares = np.concatenate([np.zeros(0), *(spectra[name].values ** 2 for name in names)])
    # Stable: of equal ones the first module's first, so that ranks stay prefixes.
    order = np.argsort(-squares / costs, kind="stable")
    taken = order[np.cumsum(costs[order]) <= budget]
    if len(order) and not len(taken):
        raise ValueError(
            f"budget is {budget:g}; allowed are at least {costs[order[0]]} numbers, those of the "
            "first component"
        )
    counts = np.bincount(owners[taken], minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _least(values: np.ndarray, share: float) -> int:
    tails = np.append(np.cumsum((values**2)[::-1])[::-1], 0)
    return int(np.argmax(tails <= share * tails[0]))
