"""What changes during training, and nothing else: the base weights are no part of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.method import Leaves, Method, Tree


class TrainState(NamedTuple):
    """The whole state of a run; what is checkpointed.

    Attributes:
      theta, aux: of the method.
      head: trained parameters of the head by name; {} where it is frozen.
      opt, head_opt: optimiser states.
      step: steps taken, int32.
      key: the key of the run; a step's own key is fold_in(key, step).
    """

    theta: Tree
    aux: Tree
    head: Leaves
    opt: Any
    head_opt: Any
    step: jax.Array
    key: jax.Array


def start(
    method: Method,
    kernels: Leaves,
    head: Leaves,
    head_tx: optax.GradientTransformation,
    key: jax.Array,
    gradients: Leaves | None = None,
) -> TrainState:
    """The state before the first step.

    Args:
      kernels: path -> kernel of the adapted modules.
      head: parameters of the head to train, {} for none.
      key: of the run: adapters, dropout.
      gradients: path -> dL/dW, for methods that start from it.

    Raises:
      ValueError: a method that needs gradients gets none.
    """
    if method.needs_gradients is not None and gradients is None:
        raise ValueError(f"gradients is None; method {method.name!r} starts from dL/dW")
    theta, aux = method.prepare(jax.random.fold_in(key, 0), kernels, gradients)
    state = TrainState(
        theta=theta,
        aux=aux,
        head=head,
        opt=method.tx.init(theta),
        head_opt=head_tx.init(head),
        step=jnp.zeros((), jnp.int32),
        key=jax.random.fold_in(key, 1),
    )
    # A compiled step writes into the state's buffers: no two leaves, nor the base, may share one.
    return jax.tree.map(jnp.copy, state)
