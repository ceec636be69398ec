"""The optimiser that begins anew: what several runs one after the other would have done."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune.methods import MethodConfig
from finetune.optimiser import OptimiserConfig, direction, optimiser, rate
from tests.finetune.training import small

CONFIG = OptimiserConfig(learning_rate=0.1, warmup=0, weight_decay=0.01)
AGAIN = dataclasses.replace(CONFIG, renew_every=4)


def descended(tx, params, steps, first=0):
    """min |p - 1|^2 / 2 for so many steps, from fresh moments."""

    @jax.jit
    def one(params, state, step):
        updates, state = tx.update(params - 1, state, params, step=step)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for step in range(first, first + steps):
        params, state = one(params, state, step)
    return params


def test_parts_are_runs_of_their_own():
    start = jnp.array([3.0, -2.0])
    whole = descended(optimiser(AGAIN, 10), start, 10)
    parts = start
    for steps in (4, 4, 2):  # the last part is what is left
        parts = descended(optimiser(CONFIG, steps), parts, steps)
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    assert not np.allclose(whole, descended(optimiser(CONFIG, 10), start, 10), rtol=1e-3)


def test_the_rate_falls_to_zero_in_every_part():
    rates = [float(rate(AGAIN, step, 10)) for step in range(10)]
    np.testing.assert_allclose(rates, [0.1, 0.075, 0.05, 0.025] * 2 + [0.1, 0.05], rtol=1e-6)


def test_without_moments_only_the_schedule_restarts():
    config = dataclasses.replace(AGAIN, name="sgd")
    assert direction(config).init(jnp.ones(2)) == optax.identity().init(jnp.ones(2))
    with pytest.raises(ValueError, match="renew_every is 0; allowed are integers >= 1"):
        OptimiserConfig(renew_every=0)


def test_a_component_restarts_within_its_own_steps():
    method = MethodConfig("sequential", path=(2, 1), std=0.5)  # 6 and 3 steps: parts of 4, 2 and 3
    run, plain = (
        small.Run(method, steps=9, options=dataclasses.replace(small.OPTIMISER, renew_every=n))
        for n in (4, None)
    )
    (path, *_) = sorted(run.first.theta)
    end, other = (np.asarray(one.states()[-1].theta[path]["b"]) for one in (run, plain))
    assert not np.allclose(end, other, rtol=1e-3) and run.traces == 1
