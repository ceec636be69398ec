"""Levels that see their predecessors late: as they were, published then, on one device or several.

Step by step it is the solver with stale predecessors in tests/finetune/methods/test_parallel.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters.method import Run
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.methods.parallel import ParallelConfig
from finetune.optimiser import OptimiserConfig
from tests.finetune.methods import linear

ADAM = OptimiserConfig(learning_rate=0.03, schedule="constant", warmup=0, clip=0)
HEAD = {"bias": jnp.zeros(linear.OUT)}
STEPS = 8


def trained(staleness, devices=1, steps=STEPS):
    """theta and aux before every step of AdaPaD, which grows after two steps."""
    axis = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((devices,), ("level",), axis_types=axis) if devices > 1 else None
    x, made, y = linear.chain_data(dtype=np.float32)
    config = AdapadConfig(2, budget=4, phase="parallel", every=2, grow=2, staleness=staleness)
    method = adapad(config, Run(ADAM, steps, mesh))
    target = linear.chain(method, x, made, y)
    target = target._replace(loss=lambda t, a, h, k=None, f=target.loss: f(t, a, HEAD, k))
    theta, aux = method.prepare(jax.random.key(0), made, None)
    states = [(theta, aux, method.tx.init(theta))]
    one = jax.jit(lambda state, step: linear.advance(method, target, state, step))
    for step in range(steps):
        states.append(one(states[-1], jnp.asarray(step, jnp.int32)))
    return states


@pytest.fixture(scope="module")
def late():
    return trained(2)


def test_what_is_seen_is_what_was_published_then(late):
    for step in range(2, STEPS):
        theta, then, _ = late[step - 2]
        for path, entry in late[step][1].items():
            published = int(then[path]["rank"])
            np.testing.assert_array_equal(
                entry["past_a"][0][:, :published], theta[path]["a"][:, :published]
            )
            np.testing.assert_array_equal(
                entry["past_b"][0][:published], theta[path]["b"][:published]
            )
            assert not entry["past_b"][0][published:].any()


def test_the_second_level_alone_notices(late):
    fresh = trained(0)
    for path in fresh[-1][0]:
        first, second = (
            np.abs(late[-1][0][path]["b"][k] - fresh[-1][0][path]["b"][k]).max() for k in range(2)
        )
        assert first <= 1e-6 < 1e-4 < second


def test_on_devices_it_is_the_same(late):
    dealt = trained(2, devices=2)
    for path, leaves in late[-1][0].items():
        for name, leaf in leaves.items():
            np.testing.assert_allclose(dealt[-1][0][path][name], leaf, atol=1e-5)


def test_late_levels_join_late():
    config = ParallelConfig(3, stagger=2, staleness=3)
    published = [int(config.published(step)) for step in range(14)]
    assert published == [0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"staleness": -1}, "staleness is -1; allowed are integers >= 0"),
        ({"staleness": 1}, "staleness is 1 with phase 'joint'; allowed is 'parallel'"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        AdapadConfig(2, **options)
