"""What a model is made of, by module path, in the order of its forward pass."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.ops import PLAIN, Ops
from finetune.weights.naming import within


class Modules(NamedTuple):
    """Module path -> shape of the parameter that `Ops` is given for it.

    Attributes:
      linear: kernels, (in, out).
      embed: tables, (rows, features).
    """

    linear: dict[str, tuple[int, int]]
    embed: dict[str, tuple[int, int]]


def modules(model: nnx.Module) -> Modules:
    """All that passes through `Ops`, found by an abstract forward pass (nothing is computed)."""
    result = Modules({}, {})

    def linear(path, x, kernel):
        result.linear.setdefault(path, kernel.shape)
        return PLAIN.linear(path, x, kernel)

    def embed(path, ids, table):
        result.embed.setdefault(path, table.shape)
        return PLAIN.embed(path, ids, table)

    graphdef, params = nnx.split(model)
    record = Ops(linear, embed)
    jax.eval_shape(lambda p: nnx.merge(graphdef, p)(_inputs(model.config), ops=record), params)
    return result


def linears(model: nnx.Module) -> dict[str, tuple[int, int]]:
    """Module path of every linear map, heads included -> kernel shape (in, out).

    Example:
      >>> from finetune.models.mlp import MLP, MLPConfig
      >>> linears(MLP(MLPConfig(num_labels=10, input_size=64, hidden_size=8)))
      {'fc1': (64, 8), 'fc2': (8, 8), 'fc3': (8, 10)}
    """
    return modules(model).linear


def embeddings(model: nnx.Module) -> dict[str, tuple[int, int]]:
    """Module path of every table -> shape (rows, features)."""
    return modules(model).embed


def head_modules(model: nnx.Module) -> tuple[str, ...]:
    """Module paths that a classifier trains beside its adapters: PEFT's modules_to_save.

    DeBERTa: pooler, classifier. DistilBERT: pre_classifier, classifier. BERT: classifier, and the
    pooler too where the checkpoint had none (a random pooler would stand between the two).
    MLP: fc3.
    """
    fresh = {name.rsplit(".", 1)[0] for name in getattr(model, "fresh", ())}
    missing = [path for path in model.optional if any(within(name, path) for name in fresh)]
    return tuple(dict.fromkeys([*missing, *model.trainable_heads]))


def _inputs(config) -> dict[str, jax.Array]:
    if hasattr(config, "input_size"):
        return {"pixels": jnp.zeros((1, config.input_size))}
    ones = jnp.ones((1, 2), jnp.int32)
    return {"input_ids": 0 * ones, "attention_mask": ones, "decoder_input_ids": 0 * ones}
