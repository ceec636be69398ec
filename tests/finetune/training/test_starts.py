"""Every method starts from the network as it was loaded, but for those that say otherwise."""

import jax
import numpy as np
import pytest

from finetune.methods import NAMES
from finetune.models.parts.ops import PLAIN
from finetune.training import step
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


@pytest.fixture(scope="module", params=NAMES)
def run(request):
    """A run of each method, before its first step."""
    return small.Run(config(request.param))


def test_first_outputs_are_the_bases(run):
    name = run.method.name
    state, batch = run.first, run.batch(0)
    got = run.predict(state.theta, state.aux, state.head, run.net.params, batch)
    plain = run.net.forward(run.net.params, step.inputs(batch), PLAIN, None)
    gap = np.abs(got - plain).max()
    if MOVED.get(name, 0) is None:
        assert gap > 1e-4
    else:
        assert gap <= max(MOVED.get(name, 0), 2e-6)


def test_first_gradients_are_finite(run):
    state, metrics = run.step(run.first, run.net.params, run.batch(0))
    assert all(np.isfinite(float(value)) for value in (metrics["loss"], metrics["gradient_norm"]))
    leaves = jax.tree.leaves((state.theta, state.head))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
