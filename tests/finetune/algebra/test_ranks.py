"""Ranks of many modules, against all that there are."""

import itertools

import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.algebra import ranks
from finetune.algebra.spectra import spectrum


def spectra(sizes=((5, 4), (5, 4), (5, 4)), seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"m{i}": spectrum(Factors(rng.normal(size=(m, 3)), rng.normal(size=(3, n))))
        for i, (m, n) in enumerate(sizes)
    }


def error(found, chosen):
    return sum(found[path].error(rank) ** 2 for path, rank in chosen.items())


@pytest.mark.parametrize("budget", [9, 18, 40, 63, 81, 1000])
def test_no_plan_of_the_budget_is_better(budget):
    found = spectra()
    plan = ranks.of_budget(found, budget)
    spent = sum(rank * found[path].cost for path, rank in plan.items())
    assert spent <= budget
    every = (dict(zip(found, r, strict=True)) for r in itertools.product(range(4), repeat=3))
    least = min(
        error(found, r) for r in every if sum(k * found[p].cost for p, k in r.items()) <= budget
    )
    assert error(found, plan) == pytest.approx(least, rel=1e-9, abs=1e-12)


def test_the_plan_of_a_smaller_budget_is_part_of_that_of_a_larger():
    found = spectra(((5, 4), (9, 3), (2, 2)))
    plans = [ranks.of_budget(found, budget) for budget in range(12, 90, 7)]
    for small, large in itertools.pairwise(plans):
        assert all(small[path] <= large[path] for path in found)


def test_a_share_of_energy():
    found = spectra()
    for path, rank in ranks.of_energy(found, 0.9).items():
        kept = [1 - (found[path].error(r) / found[path].norm) ** 2 for r in (rank - 1, rank)]
        assert kept[0] < 0.9 <= kept[1]
    assert ranks.of_energy(found, 1.0) == dict.fromkeys(found, 3)


def test_one_rank_is_at_most_the_true_one():
    assert ranks.of_rank(spectra(), 2) == {f"m{i}": 2 for i in range(3)}
    assert ranks.of_rank(spectra(), 9) == {f"m{i}": 3 for i in range(3)}


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        (ranks.of_rank, 0, "rank is 0; allowed are integers >= 1"),
        (ranks.of_energy, 1.2, "energy is 1.2; allowed"),
        (ranks.of_energy, float("nan"), "energy is nan"),
        (ranks.of_budget, 8, "budget is 8; allowed are at least 9 numbers"),
        (ranks.of_budget, -1, "budget is -1"),
    ],
)
def test_refused(rule, value, words):
    with pytest.raises(ValueError, match=words):
        rule(spectra(), value)
