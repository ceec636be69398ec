"""Device meshes from the text of a flag, and arrays on their devices and back.

A mesh may belong to several processes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh

from rankwise import checks


def parse(entries: Sequence[str], axes: tuple[str, ...]) -> dict[str, int]:
    """Axis -> size from entries such as "worker:2", "rows:4"; `axes` are the names that are known.

    Raises:
      ValueError: another form, an unknown axis, one that is named twice, a size below 1.

    Example:
      >>> parse(["worker:2", "rows:4"], ("worker", "rows"))
      {'worker': 2, 'rows': 4}
    """
    sizes: dict[str, int] = {}
    for entry in entries:
        name, _, size = entry.partition(":")
        if name not in axes or name in sizes or not size.isdecimal() or int(size) < 1:
            *others, last = (f"{axis}:N" for axis in axes)
            allowed = f"{', '.join(others)} and {last}"
            raise ValueError(f"mesh has {entry!r}; allowed are {allowed}, each once")
        sizes[name] = int(size)
    return sizes


def make(sizes: Mapping[str, int]) -> Mesh:
    """The first devices, of all processes, as a mesh of these sizes.

    Raises:
      ValueError: more devices than there are, or processes that would have none of them.

    Example:
      >>> dict(make({"worker": 1, "rows": 1}).shape)
      {'worker': 1, 'rows': 1}
    """
    needed, there = math.prod(sizes.values()), jax.devices()
    shown = ",".join(f"{name}:{size}" for name, size in sizes.items())
    if jax.process_count() > 1 and needed != len(there):
        raise ValueError(
            f"mesh {shown} has {needed} devices; allowed are {len(there)}, all of them"
        )
    checks.integer(f"devices of mesh {shown}", needed, 1, len(there))
    kinds = (AxisType.Auto,) * len(sizes)
    shape, names = tuple(sizes.values()), tuple(sizes)
    return jax.make_mesh(shape, names, axis_types=kinds, devices=there[:needed])


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


def whole(leaf) -> bool:
    """Whether this process has all entries of an array."""
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated


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
