"""Where a run's arrays lie: on one device, or on a mesh with the axes "level" and "data".

The rows of a batch are dealt out along "data", the levels of parallel methods along "level"; all
else is on every device. Every process makes the same batches, so that nothing is sent but what the
steps exchange themselves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from deflation import checks
from deflation.placing import place

AXES = ("level", "data")
# Exchanges between processes on CPUs hold a thread while they wait. Scheduled to overlap, those of
# two axes have been seen to wait for each other for ever, on machines of few cores.
IN_ORDER = {"xla_cpu_enable_concurrency_optimized_scheduler": False}


def parse(entries: Sequence[str]) -> dict[str, int]:
    """Axis -> size from entries such as "level:2", "data:4".

    Raises:
      ValueError: another form, an unknown axis, one that is named twice, a size below 1.

    Example:
      >>> parse(["level:2", "data:4"])
      {'level': 2, 'data': 4}
    """
    sizes: dict[str, int] = {}
    for entry in entries:
        name, _, size = entry.partition(":")
        if name not in AXES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise ValueError(f"mesh has {entry!r}; allowed are level:N and data:N, each once")
        sizes[name] = int(size)
    return sizes


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
      mesh: None for the default device alone.
    """

    mesh: Mesh | None = None

    @property
    def everywhere(self) -> NamedSharding | None:
        """The sharding of all that is no batch."""
        return None if self.mesh is None else NamedSharding(self.mesh, PartitionSpec())

    def replicated(self, tree: Any) -> Any:
        """The tree on every device; every process must hold the same values."""
        return tree if self.mesh is None else _placed(tree, self.everywhere)

    def dealt(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch with its rows along "data"; their number must be a multiple of its size."""
        if self.mesh is None:
            return batch
        axis = "data" if "data" in self.mesh.axis_names else None
        return _placed(dict(batch), NamedSharding(self.mesh, PartitionSpec(axis)))

    def jit(self, function: Callable, **options) -> Callable:
        """`function` compiled, its results on every device."""
        if self.mesh is not None:
            options["out_shardings"] = self.everywhere
        if jax.process_count() > 1 and jax.default_backend() == "cpu":
            options["compiler_options"] = IN_ORDER
        return jax.jit(function, **options)


ONE_DEVICE = Devices()


def devices(sizes: Mapping[str, int]) -> Devices:
    """The first devices, of all processes, as a mesh of these sizes; {} for the default device.

    Raises:
      ValueError: more devices than there are, or processes that would have none of them.

    Example:
      >>> devices({}).mesh is None
      True
    """
    if not sizes:
        return ONE_DEVICE
    wanted, there = math.prod(sizes.values()), jax.devices()
    shown = ",".join(f"{name}:{size}" for name, size in sizes.items())
    if jax.process_count() > 1 and wanted != len(there):
        raise ValueError(
            f"mesh {shown} has {wanted} devices; allowed are {len(there)}, all of them"
        )
    checks.integer(f"devices of mesh {shown}", wanted, 1, len(there))
    shape, names = tuple(sizes.values()), tuple(sizes)
    kinds = (AxisType.Auto,) * len(names)
    return Devices(jax.make_mesh(shape, names, axis_types=kinds, devices=there[:wanted]))


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: place(leaf, sharding), tree)
