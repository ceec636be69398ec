"""A schedule for every component begins with its first step."""

import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Run
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.optimiser import OptimiserConfig, rate
from finetune.studies.known_ranks.training import with_own_rates

TOTAL = 10
SGD = OptimiserConfig("sgd", learning_rate=1.0, warmup=2)


def test_a_late_component_begins_at_the_largest_rate():
    method = with_own_rates(adapad(AdapadConfig(rank=2), Run(SGD, TOTAL)), SGD, TOTAL)
    theta = {"fc": {"a": jnp.zeros((3, 2)), "b": jnp.zeros((2, 4))}}
    gradients = {"fc": {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 4))}}
    state, sizes = method.tx.init(theta), []
    for step in range(TOTAL):
        active = {"fc": jnp.array([True, step >= 5])}
        updates, state = method.tx.update(gradients, state, theta, step=step, active=active)
        assert np.array_equal(updates["fc"]["a"][0], updates["fc"]["b"][:, 0])
        sizes.append(-np.asarray(updates["fc"]["b"][:, 0]))
    first, late = np.transpose(sizes)
    np.testing.assert_allclose(first, [rate(SGD, step, TOTAL) for step in range(TOTAL)])
    np.testing.assert_allclose(late, [0] * 5 + [rate(SGD, step, 5) for step in range(5)])
    assert late.max() == 1 > first[5:].max()
