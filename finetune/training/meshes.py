"""Device meshes from the text of a flag."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh

from deflation import checks


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
    wanted, there = math.prod(sizes.values()), jax.devices()
    shown = ",".join(f"{name}:{size}" for name, size in sizes.items())
    if jax.process_count() > 1 and wanted != len(there):
        raise ValueError(
            f"mesh {shown} has {wanted} devices; allowed are {len(there)}, all of them"
        )
    checks.integer(f"devices of mesh {shown}", wanted, 1, len(there))
    kinds = (AxisType.Auto,) * len(sizes)
    shape, names = tuple(sizes.values()), tuple(sizes)
    return jax.make_mesh(shape, names, axis_types=kinds, devices=there[:wanted])
