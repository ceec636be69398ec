"""Putting arrays on the devices of a mesh, which may belong to several processes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def place(leaf, sharding: jax.sharding.Sharding):
    """`leaf` under `sharding`; every process must hold the same value.

    The cotangent stays where it is: the rest of what it is added to comes from the mesh as well.
    """
    local = not isinstance(leaf, jax.core.Tracer) and not sharding.is_fully_addressable
    if local and isinstance(leaf, jax.Array) and leaf.is_fully_addressable:
        # JAX moves arrays of the host to the devices of other processes, but not those of a device.
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        leaf = np.asarray(leaf)
    return jax.device_put(leaf, sharding)


@place.defjvp
def _placed(sharding, primals, tangents):
    (leaf,), (change,) = primals, tangents
    return place(leaf, sharding), _moved(change, sharding)


def _moved(change, sharding):
    """`change` under `sharding`, linear; its transpose leaves a cotangent where it is."""
    return jax.custom_derivatives.linear_call(
        lambda _, x: jax.device_put(x, sharding), lambda _, x: x, (), change
    )


def fetched(leaf) -> np.ndarray:
    """The whole array on the host, and no copy of it left in `leaf`.

    Of an array that is cut over several processes all of them must ask.
    """
    if not isinstance(leaf, jax.Array) or leaf.is_fully_replicated:
        return np.asarray(leaf)
    if not leaf.is_fully_addressable:
        everywhere = jax.sharding.NamedSharding(leaf.sharding.mesh, jax.sharding.PartitionSpec())
        return np.asarray(jax.jit(jnp.copy, out_shardings=everywhere)(leaf))
    # An array keeps what it has given to the host: this one is thrown away.
    return np.asarray(jnp.copy(leaf))
