"""How a total is divided during a run: everybody has a round, and nobody more than its share."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Regression, advance, budgets, finish, load, save, start
from deflation.rounds.stopping import had_its_share

VALUES = (1.0, 0.1, 0.09, 0.02)
R, TOTAL = 3, 30


def begun(budget):
    problem = Regression.from_matrix(jnp.diag(jnp.array(VALUES, jnp.float32)))
    return start(problem, R, method="sequential", budget=budget)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(0, 100), st.randoms(use_true_random=False))
def test_every_component_has_a_round_and_the_total_is_spent(rank, spare, random):
    """Whatever the moves are: growing, falling at any rate, or both in turn."""
    unused = rank + spare
    moved, earlier = np.full(rank, np.inf), np.full((2, rank), np.inf)
    spent = np.zeros(rank, int)
    for k in range(rank):
        before = spent[:k].sum()
        while True:
            spent[k] += 1
            earlier[:, k], moved[k] = (earlier[1, k], moved[k]), 10.0 ** random.uniform(-6, 0)
            seen = spent[k], unused - before, moved, earlier, 1.0, 1e-9
            if had_its_share(k, *seen, np):
                break
    assert spent.min() >= 1
    assert spent.sum() == unused


def test_a_fast_component_hands_on_and_a_slow_one_has_more():
    state = advance(begun(budgets.online(R, TOTAL)), TOTAL)
    spent = np.asarray(state.progress.spent)
    # Rates .01, .81 and .05: the first and the last stop at rounding.
    assert spent[1] > spent[0] and spent[1] > TOTAL // R
    assert spent.sum() <= TOTAL
    equal = finish(advance(begun(TOTAL), TOTAL))
    assert finish(state).bounds.max() < equal.bounds.max() / 2


def test_a_run_is_not_continued_by_another_rule(tmp_path):
    online = advance(begun(budgets.online(R, TOTAL)), 3)
    save(tmp_path / "run.npz", online)
    again = load(tmp_path / "run.npz", begun(budgets.online(R, TOTAL)))
    np.testing.assert_array_equal(again.progress.spent, online.progress.spent)
    for other in (budgets.equal(R, TOTAL), budgets.adaptive(budgets.equal(R, TOTAL))):
        with pytest.raises(ValueError, match="passes_on 'online'"):
            load(tmp_path / "run.npz", begun(other))
