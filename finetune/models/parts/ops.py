"""The two operations of a network that an adapter may change: a linear map and a table look-up.

A model never multiplies by a kernel itself. It hands the module's path, the activations and the
kernel to `Ops`, and adds the bias afterwards; adapters are other `Ops`, passed as an argument.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Asked(NamedTuple):
    """What a program of somebody else says of a product.

    Attributes:
      precision: of `jax.lax.dot_general`.
      dtype: what it sums in and returns; None for that of the operands.
    """

    precision: Any
    dtype: Any


_asked: contextvars.ContextVar[Asked | None] = contextvars.ContextVar("asked", default=None)


@contextlib.contextmanager
def as_asked(precision: Any, dtype: Any) -> Iterator[None]:
    """Products of `matmul` within are taken as a program of somebody else asks for them."""
    before = _asked.set(Asked(precision, dtype))
    try:
        yield
    finally:
        _asked.reset(before)


def asked() -> Asked | None:
    """What holds here; None for full precision, in the dtype of the activations."""
    return _asked.get()


class Ops(NamedTuple):
    """How linear maps and look-ups are computed, by module path.

    Attributes:
      linear: (path, x (..., in), kernel (in, out)) -> y (..., out) in the dtype of x, no bias. The
        leading axes are arbitrary, and one path may be called several times in a forward pass
        (DeBERTa projects tokens and relative positions with the same kernel). x has the compute
        dtype, in the heads float32; the kernel is the float32 parameter.
      embed: (path, ids (...), table (rows, features)) -> (..., features) in the dtype of the table.
      kernel: (path, kernel (in, out)) -> the changed kernel, for uses that are no product.
      stacked: paths of kernels that a loop goes through -> what changes them, arrays with the
        kernels along the first axis.
      at: (path, one entry of such arrays) -> the Ops of that kernel.
      form: path -> what kernels have in common that `stacked` puts together as they are: equal
        where shapes and structure of what changes them are.

    Paths are those of transformers' classifiers and language models, for example
    'bert.encoder.layer.0.attention.self.query'; a kernel is the transpose of torch's weight.
    """

    linear: Callable[[str, jax.Array, jax.Array], jax.Array]
    embed: Callable[[str, jax.Array, jax.Array], jax.Array]
    kernel: Callable[[str, jax.Array], jax.Array] = lambda path, kernel: kernel
    stacked: Callable[[tuple[str, ...]], Any] = lambda paths: ()
    at: Callable[[str, Any], Any] = lambda path, leaves: PLAIN
    form: Callable[[str], Hashable] = lambda path: None


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x (..., in) times kernel (in, out) in the dtype of x, without TF32 and its like."""
    # Rows in one axis: the gradients of the factors contract it, and XLA would first transpose
    # activations with two. A training step of LoRA on a CPU takes half the time so.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # not -1: a rank may be 0
    wanted = asked() or Asked(precision(x.dtype), None)
    y = jnp.matmul(
        rows,
        kernel.astype(x.dtype),
        precision=wanted.precision,
        preferred_element_type=wanted.dtype,
    )
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
