"""Plans against all plans of small cases, and what is refused."""

import itertools

import numpy as np
import pytest

from finetune.compression import forms, plans
from finetune.compression.plans import Curve

RATIOS = (0.5, 0.7, 0.9)


def curves(seed, count=3):
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(count):
        shape = (5, 4) if number % 2 else (4, 6)
        squares = np.sort(rng.exponential(size=4) ** 3)[::-1]
        tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
        found[f"fc{number}"] = Curve(shape, tails)
    return found


def every(curves, ratio, form):
    """All plans that fit, with the relative errors of their modules."""
    budget = ratio * sum(np.prod(curve.shape) for curve in curves.values())
    for ranks in itertools.product([None, 1, 2, 3, 4], repeat=len(curves)):
        plan = dict(zip(curves, ranks, strict=True))
        if plans.spent(plan, curves, form) <= budget:
            yield [
                0 if r is None else c.relative[r]
                for r, c in zip(ranks, curves.values(), strict=True)
            ]


def errors(plan, curves):
    return [0 if r is None else curves[p].relative[r] for p, r in plan.items()]


@pytest.mark.parametrize("form", ["factors", "pivot"])
@pytest.mark.parametrize("name", plans.PLANS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_plan_fits(name, ratio, form):
    for seed in range(5):
        given = curves(seed)
        plan = plans.plan(name, given, ratio, form)
        assert plans.spent(plan, given, form) <= ratio * sum(
            np.prod(curve.shape) for curve in given.values()
        )


@pytest.mark.parametrize("form", ["factors", "pivot"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_threshold_has_the_least_worst_error(ratio, form):
    for seed in range(5):
        given = curves(seed)
        worst = max(errors(plans.plan("threshold", given, ratio, form), given))
        assert worst == pytest.approx(min(map(max, every(given, ratio, form))))


def test_lagrangian_has_the_least_sum_of_its_size():
    for seed, ratio in itertools.product(range(5), RATIOS):
        given = curves(seed)
        plan = plans.plan("lagrangian", given, ratio)
        size = plans.spent(plan, given, "factors") / sum(np.prod(c.shape) for c in given.values())
        least = min(map(sum, every(given, size + 1e-12, "factors")))
        assert sum(errors(plan, given)) == pytest.approx(least)


def test_uniform_is_the_same_share():
    given = curves(0)
    assert plans.plan("uniform", given, 0.5) == {
        path: forms.largest_rank("factors", *curve.shape, 0.5) for path, curve in given.items()
    }


@pytest.mark.parametrize("ratio", [0.0, 1.0, 1.2, -0.5, float("nan")])
def test_no_ratio(ratio):
    with pytest.raises(ValueError, match="ratio"):
        plans.plan("uniform", curves(0), ratio)


def test_a_ratio_below_rank_one():
    with pytest.raises(ValueError, match="at least"):
        plans.plan("uniform", curves(0), 0.1)
