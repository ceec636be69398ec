"""What the methods with factors a (in, R), b (R, out) and a gain (R,) share."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters import low_rank_matmul
from finetune.adapters.method import Drop, Factors, Leaves, Tree
from finetune.models.parts.ops import matmul

AXIS = {"a": 1, "b": 0, "d": 0}
"""Which axis of a factor counts components."""


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """x W + ((drop(x) a) * gain) b in the dtype of x.

    A few rows never form a b; many do, without dropout, for one product in place of three.
    """
    a, gain, b = theta["a"], aux["gain"].astype(x.dtype), theta["b"]
    dropped = drop(x)
    if dropped is x and low_rank_matmul.fits(x, kernel):
        return low_rank_matmul.matmul(x, kernel, a, gain, b)
    return matmul(x, kernel) + matmul(matmul(dropped, a) * gain, b)


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of table + a diag(gain) b."""
    inner = theta["a"].astype(table.dtype)[ids] * aux["gain"].astype(table.dtype)
    return table[ids] + matmul(inner, theta["b"])


def delta(theta: Leaves, aux: Leaves) -> jax.Array:
    """a diag(gain) b as a dense (in, out) matrix."""
    return matmul(theta["a"] * aux["gain"].astype(theta["a"].dtype), theta["b"])


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Factors:
    """The live components with the gain folded into a; those of gain 0 are left out."""
    del kernel
    gain = np.asarray(aux["gain"])
    live = np.flatnonzero(gain)
    return Factors(np.asarray(theta["a"])[:, live] * gain[live], np.asarray(theta["b"])[live])


def path_key(key: jax.Array, path: str | jax.Array) -> jax.Array:
    """A key for a module that does not depend on which others are adapted.

    Args:
      path: of the module, or the CRC-32 of it.
    """
    return jax.random.fold_in(key, zlib.crc32(path.encode()) if isinstance(path, str) else path)


def start(
    key: jax.Array,
    kernels: Mapping[str, jax.Array],
    rank: int,
    draw: Callable[[jax.Array, tuple[int, int], jnp.dtype], jax.Array],
) -> Tree:
    """theta with a from `draw(key, (in, rank), dtype)` and b = 0, so that nothing changes at first.

    Factors are float32, or float64 for float64 kernels. A component's first values do not depend
    on how many there are.
    """
    theta = {}
    for path in sorted(kernels):
        size_in, size_out = kernels[path].shape
        dtype = jnp.promote_types(kernels[path].dtype, jnp.float32)
        own = path_key(key, path)
        keys = jax.vmap(functools.partial(jax.random.fold_in, own))(jnp.arange(rank))
        column = functools.partial(draw, shape=(size_in,), dtype=dtype)
        theta[path] = {
            "a": jax.vmap(column, out_axes=AXIS["a"])(keys),
            "b": jnp.zeros((rank, size_out), dtype),
        }
    return theta
