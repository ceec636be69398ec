"""Leaves of a component that begin to be trained at different times, and rates that restart.

A component's factors (a_k, b_k) and its gain d_k have an optimiser state and an age of their own:
IncreLoRA trains the factors of a reserve long before its gain. Keys are path + one of `PARTS`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.by_component import along, by_component
from finetune.adapters.method import Leaves, Run, Tree
from finetune.optimiser import rate, warm_up

PARTS = {"/factors": ("a", "b"), "/gain": ("d",)}


def apart(theta: Tree) -> Tree:
    """Factors and gains as if they were modules of their own.

    Example:
      >>> sorted(apart({"fc": {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 5)), "d": jnp.ones(2)}}))
      ['fc/factors', 'fc/gain']
    """
    return {
        path + part: {name: leaves[name] for name in names}
        for path, leaves in theta.items()
        for part, names in PARTS.items()
    }


def joined(parts: Tree, theta: Tree) -> Tree:
    """`apart` backwards; theta says which modules."""
    return {p: {n: x for part in PARTS for n, x in parts[p + part].items()} for p in theta}


def masked(theta: Tree, active: Leaves) -> Tree:
    """theta with zeros where a part is not active."""
    new = {
        key: {name: jnp.where(along(active[key], name), leaf, 0) for name, leaf in leaves.items()}
        for key, leaves in apart(theta).items()
    }
    return joined(new, theta)


def optimiser(run: Run, restart: bool) -> optax.GradientTransformationExtraArgs:
    """The optimiser of a run for every part of every component.

    The update takes `active`, key -> (R,) bool, and `age`, key -> (R,) int32, the steps that the
    part has been trained. With `restart` the learning rate of a part warms up from its first step
    on, as long as that of the run does, and then falls to 0 at the end of the run.
    """
    inner = by_component(run.direction)

    def init(theta):
        return inner.init(apart(theta))

    def update(gradients, state, theta, *, step, active, age, **_):
        updates, state = inner.update(apart(gradients), state, apart(theta), active=active)
        new = {}
        for key, leaves in updates.items():
            size = -(restarted(run, step, age[key]) if restart else run.rate(step))
            size = jnp.broadcast_to(size, age[key].shape)
            new[key] = {n: along(size.astype(u.dtype), n) * u for n, u in leaves.items()}
        return joined(new, theta), state

    return optax.GradientTransformationExtraArgs(init, update)


def restarted(run: Run, step: jax.Array, age: jax.Array) -> jax.Array:
    """The learning rate of what has been trained for `age` steps when step `step` begins.

    Example:
      >>> from finetune.optimiser import OptimiserConfig
      >>> run = Run(OptimiserConfig(learning_rate=1.0, warmup=2), total=8)
      >>> [float(restarted(run, 4 + age, jnp.asarray(age))) for age in range(4)]
      [0.5, 1.0, 1.0, 0.5]
    """
    warmup = warm_up(run.optimiser, run.total)
    return rate(run.optimiser, age, run.total - (step - age), warmup)
