"""The bilevel step: what each half trains, the set, removal, and what is learnt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.methods import MethodConfig
from finetune.training.step import StepConfig
from tests.finetune.training import small


def run(steps=12, **options):
    return small.Run(MethodConfig("debora", **{"rank": 3, **options}), steps=steps)


def sizes(state):
    return np.concatenate([np.asarray(leaves["d"]) for leaves in state.theta.values()])


@pytest.mark.parametrize("search", [pytest.param("line", marks=pytest.mark.thorough), "decay"])
def test_sizes_stay_in_their_set_and_columns_stay_unit(search):
    one = run(search=search, tau=2.0, prune_after=12, lower=2)
    for state in one.states():
        s = sizes(state)
        assert np.all(s >= np.float32(1e-4)) and s.sum() <= 2.0 + 6e-4 + 1e-5
        for leaves in state.theta.values():
            for factor, axis in (("a", 0), ("b", 1)):
                norms = np.linalg.norm(leaves[factor], axis=axis)
                np.testing.assert_allclose(norms, 1, atol=1e-5)
    assert one.traces == 1 and sizes(state).sum() > 0.1


def test_the_lower_half_trains_factors_and_head_and_the_upper_half_sizes():
    one = run(tau=4.0)
    states = one.states(3)
    batch = {name: np.array(leaf) for name, leaf in one.batch(3).items()}
    step = one.step(states[-1], one.net.params, batch)[0]
    for first, moves in ((0, "upper"), (1, "lower")):
        other = {name: leaf.copy() for name, leaf in batch.items()}
        other["pixels"][first::2] *= -1
        result = one.step(states[-1], one.net.params, other)[0]
        same = [
            np.array_equal(result.theta[p][n], step.theta[p][n]) for p in step.theta for n in "ab"
        ]
        same.append(small.same(result.head, step.head))
        assert all(same) if moves == "upper" else not any(same)
        # A change of the factors need not change the vertex that is best.
        assert moves == "lower" or not np.array_equal(sizes(result), sizes(step))


def test_what_is_small_is_removed_for_good():
    one = run(steps=30, prune_after=15, tau=4.0)
    alive = np.array([sizes(state) > 0 for state in one.states()])
    assert np.all(alive[:15]) and not np.all(alive[-1]) and np.any(alive[-1])
    assert np.all(np.diff(alive.astype(int), axis=0) <= 0)
    ranks = one.method.ranks(one.states()[-1].theta, one.first.aux)
    assert sum(map(int, ranks.values())) == alive[-1].sum()


@pytest.mark.thorough  # that it has learnt something is asked of all adaptive methods
def test_it_learns():
    losses = []
    one = run(steps=150, rank=4)
    state = one.first
    for number in range(150):
        state, metrics = one.step(state, one.net.params, one.batch(number))
        losses.append(float(metrics["loss"]))
    # The head alone ends at 0.97, LoRA at 0.11.
    assert np.mean(losses[-20:]) < 0.4 < 1 < np.mean(losses[:10])


def test_a_batch_in_parts_or_of_one_row_is_refused():
    with pytest.raises(ValueError, match="accumulate is 2; method 'debora' allows 1"):
        small.Run(MethodConfig("debora"), settings=StepConfig(accumulate=2))
    one = run()
    batch = {name: jnp.asarray(leaf[:1]) for name, leaf in one.batch(0).items()}
    with pytest.raises(ValueError, match="batch_size is 1; method 'debora' allows 2 and more"):
        jax.eval_shape(one.plain, one.first, one.net.params, batch)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tau": 0.0}, "tau is 0.0"),
        ({"least": 0.0}, "least is 0.0"),
        ({"lower": 0}, "lower is 0"),
        ({"search": "exact"}, "search is 'exact'; allowed are 'line', 'decay'"),
    ],
)
def test_settings_outside_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig("debora", **options)
