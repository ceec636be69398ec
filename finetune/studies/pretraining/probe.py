"""What pre-training is measured by: the held-out loss, and the ranks of its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deflation.problem.spectrum import effective_rank, stable_rank
from finetune.models.parts.ops import PLAIN
from finetune.training import network


class Snapshot(NamedTuple):
    """One measurement.

    Attributes:
      loss: on held-out windows, nats per byte.
      stable_rank: ||G||_F^2 / ||G||_2^2, mean over kernels.
      effective_rank: exp of the entropy of the singular values' shares, mean over kernels.
    """

    loss: float
    stable_rank: float
    effective_rank: float


def token_loss(logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean cross-entropy of the next byte, nats; rows of weight 0 do not count."""
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(axis=-1)
    return jnp.sum(each * weight) / jnp.maximum(jnp.sum(weight), 1)


def make_probe(net: network.Network, paths: tuple[str, ...], batch) -> Callable[..., Snapshot]:
    """The measurements of a network with other parameters; compiled once for all runs."""
    batch = jax.tree.map(jnp.asarray, batch)

    @jax.jit
    def measured(params):
        def loss(kernels):
            merged = {**params, **{f"{path}.weight": leaf for path, leaf in kernels.items()}}
            logits = net.forward(merged, batch, PLAIN, None)
            return token_loss(logits, batch["labels"], batch["weight"])

        return jax.value_and_grad(loss)(net.kernels(paths, params))

    def snapshot(params) -> Snapshot:
        loss, gradients = measured(params)
        values = [np.linalg.svd(np.asarray(g), compute_uv=False) for g in gradients.values()]
        ranks = [[float(rank(v, np)) for v in values] for rank in RANKS]
        return Snapshot(float(loss), *(float(np.mean(row)) for row in ranks))

    return snapshot


RANKS = (stable_rank, effective_rank)
