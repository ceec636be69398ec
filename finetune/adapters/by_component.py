"""An optimiser of its own for every component of every module.

A component that is not trained in a step keeps its moments and its step count, and one that starts
late starts with fresh ones: what a worker of its own would have. Nothing has to be reset.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.factors import AXIS
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import column, each


def by_component(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`inner` run separately on each (a_k, b_k) of each module.

    The update takes `active`: path -> (R,) bool, the components trained in this step. Others get a
    zero update and keep their state.

    Args:
      inner: a transformation without keyword arguments, for example `optax.scale_by_adam()`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> tx = by_component(optax.scale_by_adam())
      >>> theta = {"fc": {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 5))}}
      >>> active = {"fc": jnp.array([True, False])}
      >>> updates, state = jax.jit(tx.update)(theta, tx.init(theta), theta, active=active)
      >>> state["fc"].count.tolist(), [round(float(u), 3) for u in updates["fc"]["b"][:, 0]]
      ([1, 0], [1.0, 0.0])
    """

    def init(theta: Tree) -> Any:
        return {
            path: jax.vmap(inner.init, in_axes=(_axes(leaves),))(leaves)
            for path, leaves in theta.items()
        }

    def update(gradients: Tree, state, theta: Tree, *, active: Leaves, **_):
        def of_module(leaves, state, parameters, on):
            axes = _axes(leaves)
            one = jax.vmap(inner.update, in_axes=(axes, 0, axes), out_axes=(axes, 0))
            step, moved = one(leaves, state, parameters)
            update = {name: jnp.where(along(on, name), u, 0) for name, u in step.items()}
            now = jax.tree.map(
                lambda x, y: jnp.where(on.reshape(-1, *(1,) * (x.ndim - 1)), x, y), moved, state
            )
            return {"update": update, "state": now}

        both = each(of_module, gradients, state, theta, active)
        return column(both, "update"), column(both, "state")

    return optax.GradientTransformationExtraArgs(init, update)


def along(mask: jax.Array, name: str) -> jax.Array:
    """A vector over components in the shape that broadcasts over the factor `name`."""
    return {"a": mask[None, :], "b": mask[:, None], "d": mask}[name]


def _axes(leaves: Leaves) -> dict[str, int]:
    return {name: AXIS[name] for name in leaves}
