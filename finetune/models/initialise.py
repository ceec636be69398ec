"""Random parameters, each a function of (key, name) alone: what else is random changes nothing."""

from __future__ import annotations

import functools
import zlib

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import Config
from finetune.models.registry import architecture
from finetune.weights.naming import named_leaves, rebuild


def abstract(config: Config, dtype=jnp.float32) -> nnx.Module:
    """The model with shapes in place of numbers, to be filled; takes no memory.

    Args:
      config: a configuration.
      dtype: compute dtype (parameters are float32).

    Raises:
      ValueError: a dtype that is not floating.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype is {jnp.dtype(dtype).name}; allowed are floating dtypes")
    return nnx.eval_shape(lambda: architecture(config)(config, dtype))


def initialise(config: Config, key: jax.Array, dtype=jnp.float32) -> nnx.Module:
    """A model with random parameters, drawn as transformers draws them; no network needed.

    Example:
      >>> from finetune.models.mlp import MLPConfig
      >>> config = MLPConfig(num_labels=3, input_size=4, hidden_size=8)
      >>> model = initialise(config, jax.random.key(0))
      >>> model({"pixels": jnp.ones((2, 4))}).logits.shape
      (2, 3)
    """
    model = abstract(config, dtype)
    leaves = named_leaves(model)
    values = {name: parameter(config, key, name, leaf.shape) for name, leaf in leaves.items()}
    return rebuild(model, values)


def parameter(config: Config, key: jax.Array, name: str, shape: tuple[int, ...]) -> jax.Array:
    """One random float32 parameter in our layout; biases are zero, norms are the identity.

    Kernels and tables: N(0, deviation^2) by `Config.deviation`, or U(-1, 1) / sqrt(in) in the MLP
    (torch's default for a kernel).
    """
    if len(shape) == 1:
        scale = name.endswith(".weight")
        return jnp.full(shape, float(scale), jnp.float32)
    key = jax.random.fold_in(key, zlib.crc32(name.encode()))
    deviation = config.deviation(name)
    if deviation is None:
        return _uniform(key, shape, shape[0] ** -0.5)
    return _normal(key, shape, deviation)


# Compiled once per shape, not once per operation and shape.
@functools.partial(jax.jit, static_argnames="shape")
def _normal(key: jax.Array, shape: tuple[int, ...], scale: float) -> jax.Array:
    return scale * jax.random.normal(key, shape, jnp.float32)


@functools.partial(jax.jit, static_argnames="shape")
def _uniform(key: jax.Array, shape: tuple[int, ...], bound: float) -> jax.Array:
    return bound * jax.random.uniform(key, shape, jnp.float32, -1, 1)
