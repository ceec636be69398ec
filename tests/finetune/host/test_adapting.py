"""Every method on a reader's model is the method on a network that calls `Ops` itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.host.adapting import adapt
from finetune.methods import NAMES, MethodConfig, make
from finetune.optimiser import OptimiserConfig, optimiser
from finetune.training import gradient_pass, state
from finetune.training.network import Network
from finetune.training.step import StepConfig, train_step
from tests.finetune.host.own_models import cross_entropy, loss, net, rows
from tests.finetune.methods.axis import beside

STEPS, TOTAL = 3, 40
SETTINGS = OptimiserConfig(learning_rate=1e-2, schedule="constant", warmup=0)
OPTIONS = {name: {} for name in ("full", "head", "untouched", "welore")}  # others have a rank
OPTIONS |= {"sora": {"rank": 2}, "adalora": {"rank": 2, "budget": 3}, "loraga": {"rank": 1}}
OPTIONS |= {"adapad": {"rank": 2, "every": 2, "grow": 1}, "sequential": {"rank": 2}}
OPTIONS |= {"increlora": {"rank": 2, "every": 2}}
# Of these the network changes before the first step, by their definition.
CHANGED = {"debora": 1e-3, "increlora": 1e-4, "welore": None, "onestep": None, "loraone": None}


def explicit():
    """The network of `net`, written with the operations."""
    model = net()
    kernels = {"fc1": model.fc1.kernel, "fc2": model.fc2.kernel, "w": model.w}
    params = {f"{path}.weight": value[...] for path, value in kernels.items()}
    params |= {"fc1.bias": model.fc1.bias[...], "fc2.bias": model.fc2.bias[...]}

    def forward(p, batch, ops, key):
        x = jax.nn.relu(ops.linear("fc1", batch["x"], p["fc1.weight"]) + p["fc1.bias"])
        x = jax.nn.relu(ops.linear("fc2", x, p["fc2.weight"]) + p["fc2.bias"])
        return cross_entropy(ops.linear("w", x, p["w.weight"]), batch["y"])

    return Network(forward, params, ("fc1", "fc2", "w"), ())


def reference(name, batch):
    """State after the steps, by the parts that `adapt` is made of."""
    network = explicit()
    method = make(MethodConfig(name, **OPTIONS.get(name, {"rank": 2})), SETTINGS, TOTAL)
    head_tx, key = optimiser(SETTINGS, TOTAL), jax.random.key(0)
    paths = network.linears if method.beside == "head" else ()
    kernels, head = network.kernels(paths), network.trained(True, method.beside)
    dense, shared = None, [(batch, 1.0)]
    if method.needs_gradients is not None:
        options = method.needs_gradients
        dense = gradient_pass.mean_gradients(network, None, paths, lambda: shared, options, key)
    first = state.start(method, kernels, head, head_tx, key, dense)
    if method.settle is not None:
        mean = gradient_pass.mean_loss(method, network, None, lambda: shared)
        theta, aux = method.settle(mean, first.theta, first.aux)
        first = jax.tree.map(jnp.copy, first._replace(theta=theta, aux=aux))
    step = jax.jit(train_step(network, method, None, head_tx, StepConfig()), donate_argnums=0)
    for _ in range(STEPS):
        first, _ = step(first, network.params, batch)
    return first


# One that trains all, factors, magnitudes and a dense change, one that starts from a gradient, and
# one that settles its size; growth is looked at with what an adapted model offers.
# The others when asked for: each is trained with operations in tests of its own.
KINDS = ("lora",)


@pytest.mark.parametrize("name", beside(set(NAMES) - set(KINDS)))
def test_the_state_is_that_of_the_network_with_operations_to_the_bit(name):
    model, batch = net(), rows()
    options = OPTIONS.get(name, {"rank": 2})
    tuned = adapt(loss, model, batch, name, steps=TOTAL, optimiser=SETTINGS, **options)
    now = tuned.init(jax.random.key(0), [batch])
    losses = []
    for _ in range(STEPS):
        now, metrics = tuned.step(now, batch)
        losses.append(float(metrics["loss"]))
    assert tuned._compiled._cache_size() == 1
    if name not in CHANGED:
        np.testing.assert_allclose(losses[0], loss(model, batch), rtol=1e-6)
    elif CHANGED[name]:
        np.testing.assert_allclose(losses[0], loss(model, batch), rtol=CHANGED[name])
    other = reference(name, batch)
    names = {"fc1.kernel": "fc1.weight", "fc2.kernel": "fc2.weight", "w": "w.weight"}
    for part in ("theta", "aux", "opt"):
        jax.tree.map(np.testing.assert_array_equal, getattr(now, part), getattr(other, part))
    for leaf_name, leaf in now.head.items():
        np.testing.assert_array_equal(leaf, other.head[names.get(leaf_name, leaf_name)])
