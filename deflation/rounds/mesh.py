"""The device mesh of a sharded run, and a state on its devices."""

from __future__ import annotations

import dataclasses

import jax

from deflation.problem.regression import Regression
from deflation.problem.targets import entries
from deflation.rounds.options import Devices
from deflation.rounds.state import State
from rankwise import checks
from rankwise.devices import place


def on_devices(problem: Regression, devices: Devices) -> Devices:
    """The devices of a sharded run, with its mesh."""
    mesh = worker_mesh(devices.mesh, devices.axis_name)
    if devices.row_axis is not None:
        mesh = row_mesh(problem, mesh, devices.axis_name, devices.row_axis)
    return dataclasses.replace(devices, mesh=mesh)


def worker_mesh(mesh: jax.sharding.Mesh | None, axis_name: str) -> jax.sharding.Mesh:
    """The mesh of a sharded run: the given one, or all devices along one axis.

    Raises:
      ValueError: the mesh has no axis of that name.
    """
    checks.instance("axis_name", axis_name, str, "a name")
    if mesh is None:
        return jax.make_mesh(
            (jax.device_count(),), (axis_name,), axis_types=(jax.sharding.AxisType.Auto,)
        )
    if not isinstance(mesh, jax.sharding.Mesh) or axis_name not in mesh.axis_names:
        raise ValueError(
            f"mesh is {checks.shown(mesh)}; allowed is a mesh with an axis {axis_name!r}"
        )
    return mesh


def row_mesh(problem: Regression, mesh, axis_name: str, row_axis: str) -> jax.sharding.Mesh:
    """The mesh for rows of M cut along `row_axis`: its axes are the compiler's outside the loop.

    Raises:
      ValueError: no such axis, an operator, or rows that cannot be cut evenly.
    """
    names = [name for name in mesh.axis_names if name != axis_name]
    if row_axis not in names:
        raise ValueError(f"row_axis is {checks.shown(row_axis)}; allowed are {names} of the mesh")
    if entries(problem.target) is None:
        raise ValueError(f"row_axis is {row_axis!r}; allowed with an operator is None")
    parts, m = mesh.shape[row_axis], problem.shape[0]
    if m % parts:
        raise ValueError(
            f"M has {m} rows; allowed with {parts} devices along {row_axis!r} are "
            f"multiples of {parts} (rows of zeros change nothing)"
        )
    return jax.sharding.Mesh(mesh.devices, mesh.axis_names)


def on_mesh(state: State) -> State:
    """Every device (of every process) holds the whole state, as each needs all factors anyway; of
    M its rows where the plan cuts them."""

    def put(leaf, *axes):
        spec = jax.sharding.PartitionSpec(*axes)
        return place(leaf, jax.sharding.NamedSharding(state.plan.devices.mesh, spec))

    if state.plan.devices.row_axis is None:
        return jax.tree.map(put, state)
    target = put(state.problem.target, state.plan.devices.row_axis)
    rest = dataclasses.replace(state, problem=state.problem._replace(target=None))
    rest = jax.tree.map(put, rest)
    return dataclasses.replace(rest, problem=rest.problem._replace(target=target))
