"""Recorded runs of published implementations, and the toy networks that they ran on."""

import dataclasses
import json
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Objective, Run
from finetune.optimiser import OptimiserConfig
from finetune.training.step import adapted

FOLDER = pathlib.Path(__file__).parents[1] / "data" / "methods"
PATHS = ("m0", "m1")


def read(name):
    """The arrays of a trace by name, and its settings as attributes."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return types.SimpleNamespace(**json.loads(str(arrays.pop("config")))), arrays


@dataclasses.dataclass(frozen=True)
class Constant(Run):
    """A run at a constant rate in the dtype of the trace: schedules are float32."""

    @property
    def rate(self):
        """step -> learning rate."""
        dtype = jax.dtypes.canonicalize_dtype(float)
        return lambda step: jnp.asarray(self.optimiser.learning_rate, dtype)


def run(rate=1.0, **options):
    """What a method is built for."""
    return Constant(OptimiserConfig(learning_rate=rate, clip=0, **options), 100)


def kernels(arrays, dtype):
    """path -> W."""
    return {path: jnp.asarray(arrays[f"W_{i}"], dtype) for i, path in enumerate(PATHS)}


def pairs(arrays, dtype, step=None, prefix=""):
    """path -> {a, b} of the trace, before a step where it has several."""
    result = {}
    for i, path in enumerate(PATHS):
        both = {"a": arrays[f"{prefix}A_{i}"], "b": arrays[f"{prefix}B_{i}"]}
        result[path] = {
            name: jnp.asarray(leaf if step is None else leaf[step], dtype)
            for name, leaf in both.items()
        }
    return result


def objective(method, arrays, dtype, step=None):
    """mean (f(x) - y)^2 of two adapted layers with tanh between them; loss returns f(x) too."""
    x, y = (jnp.asarray(arrays[n] if step is None else arrays[n][step], dtype) for n in "xy")
    base = kernels(arrays, dtype)
    bias = [jnp.asarray(arrays.get(f"bias_{i}", 0), dtype) for i in range(2)]

    def outputs(theta, aux):
        ops = adapted(method, theta, aux)
        hidden = jnp.tanh(ops.linear("m0", x, base["m0"]) + bias[0])
        return ops.linear("m1", hidden, base["m1"]) + bias[1]

    def loss(theta, aux, head, other=None):
        del head, other
        return jnp.mean((outputs(theta, aux) - y) ** 2)

    return Objective(loss, lambda: base), outputs


def largest(left, right):
    """The largest difference between two trees of arrays."""
    differences = jax.tree.map(
        lambda x, y: np.abs(np.asarray(x, float) - np.asarray(y, float)).max(), left, right
    )
    return max(jax.tree.leaves(differences))
