import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from deflation.problem.spectrum import effective_rank
from linear_theory.structure.masking import theory as masking
from linear_theory.structure.masking.instances import TOKENS, VOCABULARY, draw_chains


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_reconstruction_minimises_the_loss_with_its_penalty():
    rng = np.random.default_rng(0)
    inputs, keep = rng.standard_normal((3, 5)), 0.6
    energy = np.sum(inputs**2, axis=1)

    def loss(vector):
        model = vector.reshape(3, 3)
        penalty = (1 - keep) / keep * np.sum(np.sum(model**2, axis=0) * energy)
        return np.sum((inputs - model @ inputs) ** 2) + penalty

    result = minimize(loss, np.zeros(9), tol=1e-12).x.reshape(3, 3)
    best = masking.masked_reconstruction(inputs @ inputs.T, keep)
    np.testing.assert_allclose(best, result, atol=1e-5)
    whole = masking.masked_reconstruction(inputs @ inputs.T, 1.0)
    np.testing.assert_allclose(whole, np.eye(3), atol=1e-13)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=6).filter(lambda v: max(v) > 0.1))
@settings(deadline=None, max_examples=30)
def test_effective_rank_lies_between_one_and_the_number_of_values(values):
    with jax.enable_x64(True):
        rank = float(effective_rank(np.array(values)))
        assert 1 - 1e-12 <= rank <= np.count_nonzero(values) + 1e-9
        assert float(effective_rank(3 * np.array(values))) == pytest.approx(rank)


def test_features():
    layers = (np.array([[1.0, 2.0]]), np.array([[3.0]]))
    hidden, out = masking.features(layers, np.array([[0.1, 0.2]]))
    np.testing.assert_allclose(hidden, np.tanh([[0.5]]))
    np.testing.assert_allclose(out, 3 * np.tanh([[0.5]]))


def test_training_is_adam_with_a_key_per_step():
    start, optimiser = (jnp.ones((2, 2)),), optax.adam(0.1)

    def loss(layers, data, key):
        return jnp.sum((layers[0] @ data - jax.random.normal(key, (2,))) ** 2)

    data = jnp.array([1.0, -2.0])
    end = masking.train_masked(loss, start, data, jax.random.key(3), 0.1, steps=4)
    layers, state = start, optimiser.init(start)
    for key in jax.random.split(jax.random.key(3), 4):
        updates, state = optimiser.update(jax.grad(loss)(layers, data, key), state)
        layers = optax.apply_updates(layers, updates)
    np.testing.assert_allclose(end[0], layers[0], rtol=1e-6)


def test_chains_are_one_hot_and_repeat_their_steps():
    data = draw_chains(jax.random.key(0), 3).data.reshape(3, 64, TOKENS, VOCABULARY + 1)
    assert (data.sum(axis=-1) == 1).all() and not data[..., -1].any()
    # Steps are concentrated: far fewer pairs occur than there are.
    tokens = data.argmax(axis=-1)
    pairs = {(int(a), int(b)) for row in tokens[0] for a, b in itertools.pairwise(row)}
    assert len(pairs) < VOCABULARY**2 * 0.8
