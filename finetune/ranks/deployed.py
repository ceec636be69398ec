"""One pass through the deployed network: its loss, gradients, and scores of its modules."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from finetune.adapters.levels import Snapshot
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import column, each
from finetune.ranks import scores

DENSE = ("effective", "added")
SCORES = (*DENSE, "decrease")
"""Those that such a pass gives, and of them those that need dense gradients."""


class Deployed(NamedTuple):
    """What the pass gives.

    Attributes:
      loss: scalar.
      head: its gradient.
      theta: likewise, of all factors; {} where it was not asked for.
      raw: path -> score; 0 where none was asked for.
    """

    loss: jax.Array
    head: Leaves
    theta: Tree
    raw: Leaves


def unscored(aux: Tree) -> Leaves:
    """The `raw` of a step without scores."""
    return each(lambda entry: jnp.zeros((), jnp.float32), aux)


def deployed(now: Snapshot, trained: bool, score: str | None = None) -> Deployed:
    """The pass, with the derivatives that are asked for and no others.

    Args:
      trained: whether the factors have a gradient too.
      score: one of `SCORES`, or None.
    """
    fixed = jax.lax.stop_gradient(now.theta)
    wanted: dict[str, Any] = {"head": now.head}
    if trained:
        wanted["theta"] = now.theta
    if score in DENSE:
        wanted["kernels"] = now.objective.kernels()
    if score == "decrease":
        wanted["gain"] = column(now.aux, "gain")

    def loss(by):
        aux = now.aux
        if "gain" in by:
            aux = each(lambda entry, gain: {**entry, "gain": gain}, aux, by["gain"])
        return now.objective.loss(by.get("theta", fixed), aux, by["head"], by.get("kernels"))

    value, of = jax.value_and_grad(loss)(wanted)
    raw = unscored(now.aux)
    if score in DENSE:
        raw = scores.effective(fixed, now.aux, of["kernels"])
    if score == "decrease":
        raw = scores.decrease(now.aux, of["gain"])
    return Deployed(value, of["head"], of.get("theta", {}), raw)
