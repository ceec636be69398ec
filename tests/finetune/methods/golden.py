"""Recorded runs of published implementations, and the toy network that they were made on."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters.method import Info, Objective, Run
from finetune.methods import MethodConfig
from finetune.methods.registry import METHODS
from finetune.optimiser import OptimiserConfig, by_rate
from finetune.training.step import adapted

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "methods"


class Trace:
    """A file of `FOLDER`; its modules are called 0, 1, ..."""

    def __init__(self, name):
        self.arrays = dict(np.load(FOLDER / f"{name}.npz"))
        self.config = json.loads(str(self.arrays.pop("config")))
        self.paths = tuple(str(i) for i in range(self.config["n_modules"]))
        self.steps = len(self.arrays["loss"])

    def __getitem__(self, name):
        return self.arrays[name]

    def kernels(self, dtype):
        return {path: np.asarray(self[f"W_{path}"], dtype) for path in self.paths}

    def leaves(self, name, dtype):
        return {path: np.asarray(self[f"{name}_{path}"], dtype) for path in self.paths}

    def objective(self, method, x, y):
        """Mean squared error of the layers with tanh between them."""
        kernels = self.kernels(x.dtype)

        def loss(theta, aux, head, other=None):
            ops, hidden = adapted(method, theta, aux, other), x
            for path in self.paths:
                hidden = ops.linear(path, hidden, kernels[path])
                hidden = jnp.tanh(hidden) if path != self.paths[-1] else hidden
            return jnp.mean((hidden - y) ** 2)

        return Objective(loss, lambda: kernels)


class Exact(Run):
    """A run whose constant learning rate is not rounded to float32."""

    @property
    def rate(self):
        return lambda step: jnp.asarray(self.optimiser.learning_rate)

    @property
    def tx(self):
        return optax.chain(self.direction, by_rate(self.rate))


def method(trace, name, **options):
    """The method with the optimiser of the trace: AdamW at a constant rate."""
    c = trace.config
    decay = c.get("weight_decay", c.get("weight_decay_ab", 0.0))
    optimiser = OptimiserConfig(
        learning_rate=c["lr"], schedule="constant", warmup=0, weight_decay=decay
    )
    settings = MethodConfig(name, **options).settings
    return METHODS[name].build(settings, Exact(optimiser, trace.steps))


def torch_clipped(tree, norm):
    """torch's clipping, whose factor is norm / (size + 1e-6)."""
    size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))
    factor = jnp.minimum(1, norm / (size + 1e-6))
    return jax.tree.map(lambda leaf: leaf * factor, tree), size


def replay(trace, method, theta, aux, dtype, update=None):
    """The states (theta, aux) after every step, and what the step saw: one compiled step.

    `update` replaces the method's optimiser: a transformation.
    """
    tx = update or method.tx
    traces = []

    @jax.jit
    def train(theta, aux, opt, step, x, y):
        traces.append(1)
        result = method.grads(
            trace.objective(method, x, y), theta, aux, {}, step, jax.random.key(0)
        )
        value, extra = jax.value_and_grad(method.regulariser)(theta, aux)
        total = jax.tree.map(jnp.add, result.theta, extra)
        total, norm = torch_clipped(total, trace.config["max_grad_norm"])
        updates, opt = tx.update(total, opt, theta, step=step, **result.info)
        moved = jax.tree.map(jnp.add, theta, updates)
        info = Info(step, jax.random.key(1), total, result.info)
        seen = {"loss": result.loss, "penalty": value, "norm": norm, "before": moved, **result.info}
        return *method.post(moved, aux, opt, info), seen

    opt, states, records = tx.init(theta), [], []
    for t in range(trace.steps):
        x, y = (jnp.asarray(trace[name][t], dtype) for name in "xy")
        theta, aux, opt, seen = train(theta, aux, opt, jnp.asarray(t, jnp.int32), x, y)
        states.append((theta, aux))
        records.append(seen)
    assert len(traces) == 1, "a step was compiled again"
    return states, records


def stacked(records, name):
    return np.array([record[name] for record in records])


def by_module(states, name):
    """(steps, modules, R) of a leaf of theta."""
    return np.array([[theta[path][name] for path in sorted(theta)] for theta, _ in states])


def worst(result, expected):
    """The largest absolute difference, nan (nothing recorded) left out."""
    return float(np.nanmax(np.abs(np.asarray(result) - expected)))
