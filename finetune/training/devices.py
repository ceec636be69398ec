"""Where a run's arrays lie: on one device, or on a mesh with the axes "level", "data", "shard".

The rows of a batch are dealt out along "data" and "shard", the levels of parallel methods along
"level". Parameters are cut along "shard", each along one of its axes, and gathered where a layer
uses them (FSDP, ZeRO stage 3); all else is on every device. Every process makes the same batches,
so that nothing is sent but what the steps exchange themselves.

Source: Rajbhandari et al. (2020), ZeRO; Zhao et al. (2023), PyTorch FSDP.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from finetune.models.parts.layered import Layered
from finetune.training.state import TrainState
from rankwise import devices as meshes
from rankwise.devices import place

AXES = ("level", "data", "shard")
ROWS = ("data", "shard")
"""The axes along which the rows of a batch are dealt out."""


def parse(entries: Sequence[str]) -> dict[str, int]:
    """Axis -> size from entries such as "level:2", "data:4".

    Raises:
      ValueError: another form, an unknown axis, one that is named twice, a size below 1; levels on
        devices of their own, whose steps need all parameters, together with "shard".

    Example:
      >>> parse(["level:2", "data:4"])
      {'level': 2, 'data': 4}
    """
    sizes = meshes.parse(entries, AXES)
    if {"level", "shard"} <= set(sizes):
        raise ValueError("mesh has level and shard; allowed is one of them")
    return sizes


def rows(sizes: Mapping[str, int]) -> int:
    """Parts that the rows of a batch are dealt out into.

    Example:
      >>> rows({"level": 2, "data": 3, "shard": 4})
      12
    """
    return math.prod(sizes.get(axis, 1) for axis in ROWS)


def cut(shape: tuple[int, ...], parts: int) -> PartitionSpec:
    """A parameter's largest axis that `parts` divides, along "shard"; vectors are not cut.

    Example:
      >>> [tuple(cut(shape, 4)) for shape in ((768, 3072), (768,), (5, 8))]
      [(None, 'shard'), (), (None, 'shard')]
    """
    fitting = [axis for axis, size in enumerate(shape) if size and size % parts == 0]
    if len(shape) < 2 or not fitting:
        return PartitionSpec()
    axis = max(fitting, key=lambda axis: shape[axis])
    return PartitionSpec(*[None] * axis, "shard")


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

    @property
    def parts(self) -> int:
        """Parts that a parameter is cut into."""
        return 1 if self.mesh is None else self.mesh.shape.get("shard", 1)

    def of_parameter(self, name: str, shape: tuple[int, ...]) -> NamedSharding | None:
        """Where a parameter lies; None for the default device."""
        del name
        if self.mesh is None:
            return None
        parts = self.parts
        return NamedSharding(self.mesh, cut(shape, parts)) if parts > 1 else self.everywhere

    def of_state(self, state: TrainState) -> TrainState:
        """Where a training state lies: what is trained whole, and its moments, is cut as well."""

        def whole(leaf):
            return self.of_parameter("", leaf.shape)

        everywhere = jax.tree.map(lambda leaf: self.everywhere, state)
        wide = (jax.tree.map(whole, part) for part in (state.head, state.head_opt))
        return everywhere._replace(**dict(zip(("head", "head_opt"), wide, strict=True)))

    def parameters(self, params: Mapping[str, jax.Array]) -> Mapping[str, jax.Array]:
        """The parameters where they belong."""
        if isinstance(params, Layered):
            stacks = (jax.tree.map(self._layers, stack) for stack in params.stacks)
            return Layered(params.groups, tuple(stacks), self.parameters(params.rest))
        if self.mesh is None:
            return dict(params)
        return {n: place(leaf, self.of_parameter(n, leaf.shape)) for n, leaf in params.items()}

    def _layers(self, leaf: jax.Array) -> jax.Array:
        """Parameters of several layers in one array, each cut as it would be by itself."""
        if self.mesh is None:
            return leaf
        spec = self.of_parameter("", leaf.shape[1:]).spec
        return place(leaf, NamedSharding(self.mesh, PartitionSpec(None, *spec)))

    def state(self, state: TrainState) -> TrainState:
        """The training state where it belongs."""
        return state if self.mesh is None else jax.tree.map(place, state, self.of_state(state))

    def replicated(self, tree: Any) -> Any:
        """The tree on every device; every process must hold the same values."""
        return tree if self.mesh is None else _placed(tree, self.everywhere)

    def dealt(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch with its rows along `ROWS`; their number must be a multiple of `rows`."""
        if self.mesh is None:
            return batch
        axes = tuple(axis for axis in ROWS if axis in self.mesh.axis_names)
        return _placed(dict(batch), NamedSharding(self.mesh, PartitionSpec(axes or None)))

    def jit(self, function: Callable, **options) -> Callable:
        """`function` compiled, its results on every device."""
        if self.mesh is not None:
            options["out_shardings"] = self.everywhere
        return jax.jit(function, **options)

    def jit_step(self, function: Callable) -> Callable:
        """A training step compiled: (state, params, batch) -> (state, metrics).

        The state's buffers are donated, and the new one lies where the old one lay.
        """
        if self.parts == 1:
            return self.jit(function, donate_argnums=0)
        compiled = []

        def program(state):
            if not compiled:  # what is cut depends on the state's structure
                out = (self.of_state(state), self.everywhere)
                compiled.append(jax.jit(function, donate_argnums=0, out_shardings=out))
            return compiled[0]

        def step(state, params, batch):
            return program(state)(state, params, batch)

        step.lower = lambda state, *rest: program(state).lower(state, *rest)
        return step


ONE_DEVICE = Devices()


def devices(sizes: Mapping[str, int]) -> Devices:
    """The first devices, of all processes, as a mesh of these sizes; {} for the default device.

    Raises:
      ValueError: more devices than there are, or processes that would have none of them.

    Example:
      >>> devices({}).mesh is None
      True
    """
    return Devices(meshes.make(sizes)) if sizes else ONE_DEVICE


def _placed(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: place(leaf, sharding), tree)
