"""Budgets sum exactly to the total, in the families of the paper."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Budget, budgets
from deflation.budgets import as_budget

FAMILIES = {
    "equal": lambda r, t, alpha, least: budgets.equal(r, t, minimum=least),
    "alpha": lambda r, t, alpha, least: budgets.alpha_family(r, t, alpha, minimum=least),
    "more": lambda r, t, alpha, least: budgets.linear_family(r, t, "more", minimum=least),
    "less": lambda r, t, alpha, least: budgets.linear_family(r, t, "less", minimum=least),
    "constant": lambda r, t, alpha, least: budgets.linear_family(r, t, "equal", minimum=least),
}


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(list(FAMILIES)),
    st.integers(1, 60),
    st.one_of(st.integers(0, 3000), st.integers(0, 10**9)),
    st.one_of(st.floats(-5, 5), st.floats(allow_nan=False, allow_infinity=False)),
    st.integers(1, 5),
)
def test_sums_and_minimum(family, rank, spare, alpha, least):
    total = rank * least + spare
    budget = FAMILIES[family](rank, total, alpha, least)
    assert len(budget.steps) == rank
    assert sum(budget.steps) == budget.total == total
    assert min(budget.steps) >= least
    assert all(type(step) is int for step in budget.steps)


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 30), st.integers(0, 2000), st.floats(0, 5))
def test_direction_of_the_families(rank, spare, alpha):
    """More to the first for alpha > 0, to the last for alpha < 0, and one is the other reversed
    (up to the place of the remainders)."""
    total = 2 * rank + spare
    up = budgets.alpha_family(rank, total, alpha).steps
    down = budgets.alpha_family(rank, total, -alpha).steps
    assert list(up) == sorted(up, reverse=True)
    assert max(abs(a - b) for a, b in zip(up, down[::-1], strict=True)) <= 1
    more = budgets.linear_family(rank, total, "more").steps
    less = budgets.linear_family(rank, total, "less").steps
    assert list(more) == sorted(more, reverse=True)
    assert max(abs(a - b) for a, b in zip(more, less[::-1], strict=True)) <= 1
    even = budgets.equal(rank, total).steps
    assert max(even) - min(even) <= 1


@pytest.mark.parametrize(("alpha", "first", "last"), [(-1, 2, 48), (0, 25, 25), (1, 48, 2)])
def test_published_values(alpha, first, last):
    steps = budgets.alpha_family(20, 500, alpha).steps
    assert (steps[0], steps[-1], sum(steps)) == (first, last, 500)


def test_clipping_saturates():
    """Beyond |alpha| = 1 the poor end stays at the minimum."""
    for alpha in (1.5, 3.0):
        steps = budgets.alpha_family(20, 500, alpha).steps
        assert steps[-1] == 2 and steps[-2] == 2


def test_linear_family_is_the_line_of_the_released_code():
    """linspace(T // r, 2, r) scaled to sum T."""
    steps = budgets.linear_family(20, 500, "more").steps
    line = np.linspace(25, 2, 20)
    np.testing.assert_allclose(steps, line / line.sum() * 500, atol=1)
    assert budgets.linear_family(4, 20, "equal").steps == (5, 5, 5, 5)


def test_remainders_go_to_the_first():
    assert budgets.equal(3, 11).steps == (4, 4, 3)
    assert budgets.equal(1, 7).steps == (7,)
    assert budgets.alpha_family(1, 7, 0.5).steps == (7,)


def test_whole_numbers_below_themselves_by_rounding():
    values = np.array([3.0, 2.0, 2.0]) * (1 - 2**-52)
    assert budgets._round_to_sum(values, 7) == (3, 2, 2)


def test_adaptive_changes_nothing_else():
    plain = budgets.linear_family(4, 40)
    assert budgets.adaptive(plain) == Budget(plain.steps, passes_on=True)
    assert not plain.passes_on


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        (10, (4, 3, 3)),
        (np.int64(9), (3, 3, 3)),
        ([3, 2, 1], (3, 2, 1)),
        ((3, 2, 1), (3, 2, 1)),
        (np.array([3, 2, 1]), (3, 2, 1)),
        (Budget((3, 2, 1)), (3, 2, 1)),
    ],
)
def test_what_counts_as_a_budget(given, steps):
    budget = as_budget(given, 3)
    assert budget.steps == steps and hash(budget) == hash(Budget(steps))


@pytest.mark.parametrize("steps", [[3, 2, 1], np.array([3, 2, 1])])
def test_a_budget_of_any_sequence(steps):
    assert Budget(steps) == Budget((3, 2, 1))


def test_the_poor_end_stays_at_the_minimum_of_a_large_budget():
    """Clipped weights are nothing, not a hundredth of the largest."""
    for alpha in (1.0, 3.0):
        assert budgets.alpha_family(20, 100_000, alpha).steps[-1] == 2


def test_the_line_starts_at_whole_steps():
    """11 // 3 = 3: the line 3, 5/2, 2, scaled to 4.4, 3.7, 2.9; from 11 / 3 on it is 5, 4, 2."""
    assert budgets.linear_family(3, 11, "more").steps == (4, 4, 3)


def test_optimal_is_the_least_of_all_divisions():
    rng = np.random.default_rng(0)
    divisions = np.array([(i, j - i, 11 - j) for i in range(1, 10) for j in range(i + 1, 11)])
    for _ in range(20):
        errors, rates = rng.uniform(0.1, 1, 3), rng.uniform(0, 0.95, 3)
        steps = np.array(budgets.optimal(errors, rates, 11).steps)
        left = np.sum(errors * rates ** np.vstack([steps, divisions]), axis=1)
        assert left[0] == left.min()


def test_optimal_beyond_the_smallest_number_and_with_an_exact_step():
    steps = budgets.optimal([1.0, 1.0], [1e-3, 1e-6], 3000).steps
    assert steps == (2000, 1000)
    assert budgets.optimal([1.0, 1.0], [0.0, 0.5], 30).steps == (1, 29)
    assert budgets.optimal([1.0], [0.0], 5).steps == (5,)
    assert budgets.optimal([1.0, 1e-9], [0.5, 0.5], 12, minimum=3).steps == (9, 3)


@pytest.mark.parametrize(
    ("errors", "rates", "total", "message"),
    [
        ([1.0, 0.0], [0.5, 0.5], 9, "errors is .*allowed are numbers > 0"),
        ([1.0, float("nan")], [0.5, 0.5], 9, "errors is"),
        ([1.0, 1.0], [0.5, 1.0], 9, r"rates is .*allowed are 2 numbers in \[0, 1\)"),
        ([1.0, 1.0], [0.5], 9, "rates is"),
        ([1.0, 1.0], [0.5, 0.5], 1, "total is 1"),
        ([], [], 1, "rank is 0"),
    ],
)
def test_optimal_refuses(errors, rates, total, message):
    with pytest.raises(ValueError, match=message):
        budgets.optimal(errors, rates, total)
