"""Every method starts from the network as it was loaded, but for those that say otherwise."""

import functools

import jax
import numpy as np
import pytest

from finetune.methods import NAMES
from finetune.models.parts.ops import PLAIN
from finetune.training import step
from tests.finetune.methods.axis import beside
from tests.finetune.training import small
from tests.finetune.training.test_loop import config

# How far the first outputs are from the base's, and why.
MOVED = {
    "increlora": 1e-4,  # the reserve has d = 1e-5
    "debora": 5e-3,  # its singular values start at 1e-4
    "deeplora": 1e-5,  # three factors of size 1e-3
    "loraone": None,  # the start is a step along the gradient
    "onestep": None,  # it is nothing else
    "welore": None,  # kernels are replaced by what half of their parameters can express
}


# Several steps are made, and traces counted, in the tests of the training loop and of the methods.
STEPPED = ("lora", "loraplus", "plora", "rite", "dora", "pissa", "full", "head", "sequential")
STEPPED += ("adapad", "adalora", "increlora", "sora", "debora", "loraga", "loraone", "onestep")
STEPPED += ("deeplora", "galore", "adarankgrad", "relora", "cola", "welore", "parallel")


@functools.lru_cache(maxsize=1)
def run(name):
    """A run of a method, before its first step."""
    return small.Run(config(name))


# Others add factors of which one is zero, as LoRA does.
@pytest.mark.parametrize("name", beside(set(NAMES) - {"lora", "dora", *MOVED}))
def test_first_outputs_are_the_bases(name):
    one = run(name)
    state, batch = one.first, one.batch(0)
    # Not compiled: operations on the same shapes are the same programs for all methods.
    predict = step.predict(one.net, one.method)
    got = predict(state.theta, state.aux, state.head, one.net.params, batch)
    plain = one.net.forward(one.net.params, step.inputs(batch), PLAIN, None)
    gap = np.abs(got - plain).max()
    if MOVED.get(name, 0) is None:
        assert gap > 1e-4
    else:
        assert gap <= max(MOVED.get(name, 0), 2e-6)


@pytest.mark.parametrize("name", beside(STEPPED))
def test_first_gradients_are_finite_and_the_second_step_is_not_compiled_anew(name):
    one = run(name)
    state = one.first
    for number in range(2):
        state, metrics = one.step(state, one.net.params, one.batch(number))
        assert np.isfinite([float(metrics[key]) for key in ("loss", "gradient_norm")]).all()
    assert one.traces == 1
    leaves = jax.tree.leaves((state.theta, state.head))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
