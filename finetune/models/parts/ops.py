"""The two operations of a network that an adapter may change: a linear map and a table look-up.

A model never multiplies by a kernel itself. It hands the module's path, the activations and the
kernel to `Ops`, and adds the bias afterwards; adapters are other `Ops`, passed as an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ops(NamedTuple):
    """How linear maps and look-ups are computed, by module path.

    Attributes:
      linear: (path, x (..., in), kernel (in, out)) -> y (..., out) in the dtype of x, no bias. The
        leading axes are arbitrary, and one path may be called several times in a forward pass
        (DeBERTa projects tokens and relative positions with the same kernel). x has the compute
        dtype, in the heads float32; the kernel is the float32 parameter.
      embed: (path, ids (...), table (rows, features)) -> (..., features) in the dtype of the table.

    Paths are those of transformers' classifiers and language models, for example
    'bert.encoder.layer.0.attention.self.query'; a kernel is the transpose of torch's weight.
    """

    linear: Callable[[str, jax.Array, jax.Array], jax.Array]
    embed: Callable[[str, jax.Array, jax.Array], jax.Array]


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (..., in) times kernel (in, out) in the dtype of x, without TF32 and its like."""
    # Rows in one axis: the gradients of the factors contract it, and XLA would first transpose
    # activations with two. A training step of LoRA on a CPU takes half the time so.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # not -1: a rank may be 0
    y = jnp.matmul(rows, kernel.astype(x.dtype), precision=precision(x.dtype))
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def precision(dtype) -> jax.lax.Precision | None:
    """Full precision from float32 on: an accelerator's default would round the operands."""
    return None if jnp.dtype(dtype).itemsize < 4 else jax.lax.Precision.HIGHEST


def _linear(path: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    del path
    return matmul(x, kernel)


def _embed(path: str, ids: jax.Array, table: jax.Array) -> jax.Array:
    del path
    return table[ids]


PLAIN = Ops(linear=_linear, embed=_embed)
"""The network as its checkpoint has it."""
