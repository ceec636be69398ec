"""Checkpoint -> module, strictly: every tensor is used or ignorable, every parameter is filled.

All misfits are found before a single number is read, and reported together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from finetune.weights.entries import Checkpoint, Entry
from finetune.weights.naming import Leaf, named_leaves, rebuild, within

Placement = (
    jax.sharding.Sharding | Callable[[str, tuple[int, ...]], jax.sharding.Sharding | None] | None
)

FLOATS = ("float16", "bfloat16", "float32", "float64")

# The names of TensorFlow, which the oldest BERT checkpoints kept.
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def fill(
    model: nnx.Module,
    checkpoint: Checkpoint,
    fresh: Callable[[str, tuple[int, ...]], jax.Array],
    *,
    sharding: Placement = None,
    fresh_head: bool = False,
    groups: Sequence[tuple[str, ...]] = (),
    entry: Callable[[jax.Array, int], Any] | None = None,
) -> nnx.Module:
    """The module with the checkpoint's parameters in float32, placed one by one.

    Args:
      model: abstract; it has `base`, `optional`, `ignored` and `trainable_heads`, see
        `finetune.models.registry`.
      checkpoint: from `finetune.weights.files.open_checkpoint`.
      fresh: (name, shape) -> a parameter that the checkpoint lacks, placed already.
      sharding: one for all, or by name and shape in our layout; None for the default device.
      fresh_head: treat the trainable heads as absent from the checkpoint.
      groups: names of parameters of one shape that are read into one array, with a further axis in
        front; each of them is `entry(array, number)` then, and none is there twice.

    Returns:
      A module; its attribute `fresh` names what was not in the checkpoint.

    Raises:
      ValueError: parameters without a tensor, tensors without a parameter, shapes or dtypes that
        differ, NaN or infinity; one line per tensor, or one for all of a head for other labels.
    """
    leaves = named_leaves(model)
    plan = match(model, leaves, checkpoint, fresh_head=fresh_head)

    def read(name: str) -> np.ndarray:
        return _read(plan[name], leaves[name], name, checkpoint.source)

    values: dict[str, Any] = {}
    for names in (names for names in groups if set(names) <= plan.keys()):
        stack = np.empty((len(names), *leaves[names[0]].shape), np.float32)
        for number, name in enumerate(names):
            stack[number] = read(name)
        whole = jax.block_until_ready(place(names[0], stack, _of_layers(sharding)))
        values |= {name: entry(whole, number) for number, name in enumerate(names)}
    for name, leaf in leaves.items():
        if name not in values:
            alone = name in plan
            values[name] = place(name, read(name), sharding) if alone else fresh(name, leaf.shape)
    filled = rebuild(model, values)
    filled.fresh = tuple(sorted(set(leaves) - set(plan)))
    return filled


def match(
    model: nnx.Module, leaves: dict[str, Leaf], checkpoint: Checkpoint, *, fresh_head: bool
) -> dict[str, Entry]:
    """Parameter name -> entry of the checkpoint; parameters that may stay fresh are left out.

    Raises:
      ValueError: as `fill`.
    """
    entries, problems = full_names(model, checkpoint.entries)
    if fresh_head:
        heads = model.trainable_heads
        entries = {n: e for n, e in entries.items() if not any(within(n, h) for h in heads)}
    plan = {}
    for name, entry in entries.items():
        if name in leaves:
            plan[name] = entry
            problems += _misfits(name, entry, leaves[name])
        # A pooler that this model does without is no stranger.
        elif not _ignorable(name, model, leaves):
            problems.append(f"{name} is not known here")
    lacking = [name for name in leaves if name not in plan]
    problems += [f"{name} is missing" for name in lacking if not _may_lack(name, model, plan)]
    others = _other_heads(model, plan, leaves)
    if others and len(others) == len(problems):
        raise ValueError(
            f"the head of {checkpoint.source} is one for other labels: {'; '.join(others)}; "
            "--head=new (fresh_head=True of finetune.models.load) draws a new one"
        )
    if problems:
        raise ValueError(
            f"{checkpoint.source} does not fit {type(model).__name__}:\n  "
            + "\n  ".join(sorted(problems))
        )
    return plan


def full_names(model: nnx.Module, entries: dict[str, Entry]) -> tuple[dict[str, Entry], list[str]]:
    """The entries under the names of the full model and without copies of others, and misfits."""
    entries, problems = _canonical(entries, model.base)
    entries, other = _originals(entries, getattr(model, "copies", ()))
    return entries, problems + other


def place(name: str, value: np.ndarray | jax.Array, sharding: Placement) -> jax.Array:
    """One parameter on its devices; each device is given its own slice only."""
    if callable(sharding):
        sharding = sharding(name, value.shape)
    if sharding is None:
        return jnp.asarray(value)
    value = np.asarray(value)
    # Copied: a device that is the host itself would keep the whole of what its slice is a view of.
    return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index].copy())


def _of_layers(sharding: Placement) -> Placement:
    """Where the parameters of several layers lie, from where that of one does."""

    def placed(name: str, shape: tuple[int, ...]):
        own = sharding(name, shape[1:]) if callable(sharding) else sharding
        if not isinstance(own, jax.sharding.NamedSharding):
            return own
        return jax.sharding.NamedSharding(own.mesh, jax.sharding.PartitionSpec(None, *own.spec))

    return placed


def _canonical(entries: dict[str, Entry], base: str) -> tuple[dict[str, Entry], list[str]]:
    """Entries under the names of the full model: a bare encoder leaves out its own."""
    bare = base and not any(name.startswith(f"{base}.") for name in entries)
    named, problems = {}, []
    for raw, entry in entries.items():
        name = f"{base}.{raw}" if bare else raw
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new) if name.endswith(old) else name
        if name in named:
            problems.append(f"{name} is there twice, once as {raw}")
        named[name] = entry
    return named, problems


def _originals(entries: dict[str, Entry], copies) -> tuple[dict[str, Entry], list[str]]:
    """Without the tensors that stand there twice; alone, a copy takes the name it is a copy of."""
    entries, problems = dict(entries), []
    for copy, name in copies:
        entry = entries.pop(copy, None)
        if entry is None or name not in entries:
            entries |= {} if entry is None else {name: entry}
        elif entry.shape != entries[name].shape or not np.array_equal(
            entry.read(), entries[name].read()
        ):
            problems.append(f"{copy} differs from {name}, of which it should be a copy")
    return entries, problems


def _misfits(name: str, entry: Entry, leaf: Leaf) -> list[str]:
    problems = []
    if entry.shape != leaf.stored_shape:
        problems.append(f"{name} has shape {entry.shape}; allowed is {leaf.stored_shape}")
    if entry.dtype not in FLOATS:
        problems.append(f"{name} has dtype {entry.dtype}; allowed are {', '.join(FLOATS)}")
    return problems


def _other_heads(model: nnx.Module, plan: dict[str, Entry], leaves: dict[str, Leaf]) -> list[str]:
    """Misfits of the parameters of the heads, which a new head would mend."""
    heads = [n for n in plan if any(within(n, path) for path in model.trainable_heads)]
    return [problem for name in heads for problem in _misfits(name, plan[name], leaves[name])]


def _ignorable(name: str, model: nnx.Module, leaves: dict[str, Leaf]) -> bool:
    absent = [path for path in model.optional if not any(within(leaf, path) for leaf in leaves)]
    return any(within(name, path) for path in absent) or any(
        re.fullmatch(pattern, name) for pattern in model.ignored
    )


def _may_lack(name: str, model: nnx.Module, plan: dict[str, Entry]) -> bool:
    """An optional module is fresh as a whole or not at all."""
    owners = [path for path in model.optional if within(name, path)]
    return any(not any(within(other, path) for other in plan) for path in owners)


def _read(entry: Entry, leaf: Leaf, name: str, source: str) -> np.ndarray:
    value = entry.read().astype(np.float32)
    if not np.isfinite(value).all():
        raise ValueError(f"{source}: {name} contains NaN or infinity; allowed are finite numbers")
    return np.ascontiguousarray(value.T) if leaf.transposed else value
