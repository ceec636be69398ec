"""A training state in which the arrays of layers that are alike lie together, and back again.

Only for methods that treat every array by itself, or modules by `finetune.adapters.tables`
(`Method.layerwise`): they do not see the difference. Checkpoints, scores and adapters have the
state of every layer under its own name.
"""

from __future__ import annotations

from typing import Any

import jax

from finetune.models.parts.layered import Layered, Runs, layered
from finetune.training.state import TrainState


def packed(state: TrainState, runs: Runs, release: bool = False) -> TrainState:
    """The state with the layers of each run together; without runs as it is.

    Args:
      release: delete the arrays of the state that are put together, as a step does that donates.

    Example:
      >>> import jax.numpy as jnp
      >>> theta = {f"h.{i}.fc": {"b": jnp.ones((2, 3))} for i in range(4)}
      >>> state = TrainState(theta, {}, {}, (theta,), (), jnp.int32(0), jax.random.key(0))
      >>> both = packed(state, (tuple(f"h.{i}" for i in range(4)),))
      >>> [leaf.shape for leaf in jax.tree.leaves((both.theta, both.opt))]
      [(4, 2, 3), (4, 2, 3)]
      >>> sorted(unpacked(both).opt[0]) == sorted(theta)
      True
    """

    def together(table: Any) -> Any:
        stacked = layered(table, runs, release)
        return stacked if stacked.groups else table

    def beside(table, now, tree):
        """An optimiser's state; its parts that have an entry for each of the table's go with it."""
        if not isinstance(now, Layered):
            return tree

        def same(part):
            return isinstance(part, dict) and set(part) == set(table)

        return jax.tree.map(
            lambda part: layered(part, runs, release) if same(part) else part, tree, is_leaf=same
        )

    theta, head = together(state.theta), together(state.head)
    return state._replace(
        theta=theta,
        aux=together(state.aux),
        head=head,
        opt=beside(state.theta, theta, state.opt),
        head_opt=beside(state.head, head, state.head_opt),
    )


def unpacked(state: TrainState) -> TrainState:
    """The state with an entry of its own for every layer."""

    def apart(part: Any) -> Any:
        return dict(part) if isinstance(part, Layered) else part

    return jax.tree.map(apart, state, is_leaf=lambda part: isinstance(part, Layered))
