"""How much a module wants another component: a sensitivity and how much it varies.

For a module with change D = s sum_{j < rank} a_j b_j of its kernel (in, out):

  effective   sum |D * dL/dW| / sqrt(in out), L the deployed network's loss
  factor      mean of |p * dL/dp| over the entries p of its live factors, each of its own level
  reserve     s |a_k| |b_k| of the component that trains in private

Averages over steps, for the score I U:  I <- beta I + (1 - beta) raw, then
U <- beta U + (1 - beta) |raw - I|.

Source: AdaLoRA (Zhang et al., 2023) section 3.2 and IncreLoRA's released code, where `effective` is
divided by the root of the size and U is measured from the updated I.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from finetune.adapters import factors
from finetune.adapters.by_component import along
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import each, rows

KINDS = ("effective", "factor", "reserve")


def effective(theta: Tree, aux: Tree, dense: Leaves) -> Leaves:
    """path -> scalar, from the dense gradients dL/dW of the deployed network.

    A module that has learnt nothing yet (D = 0) scores 0. Of an accumulated batch the score is the
    mean of its parts' scores, which is at least that of the whole: sum |.| is no linear function.

    Example:
      >>> import jax.numpy as jnp
      >>> theta = {"fc": {"a": jnp.ones((2, 1)), "b": jnp.ones((1, 2))}}
      >>> aux = {"fc": {"gain": jnp.ones(1)}}
      >>> float(effective(theta, aux, {"fc": -3 * jnp.ones((2, 2))})["fc"])
      6.0
    """

    def of_module(leaves: Leaves, entry: Leaves, gradient: jax.Array) -> jax.Array:
        return _mean(factors.delta(leaves, entry) * gradient) * gradient.size**0.5

    return each(of_module, theta, aux, dense)


def factor(theta: Tree, aux: Tree, gradients: Tree) -> Leaves:
    """path -> scalar, from the gradients of the factors, over published components."""

    def of_module(leaves: Leaves, entry: Leaves, gradient: Leaves) -> jax.Array:
        live = entry["gain"] != 0
        total = sum(
            jnp.sum(jnp.where(along(live, name), jnp.abs(leaf * gradient[name]), 0))
            for name, leaf in leaves.items()
        )
        entries = (leaves["a"].shape[0] + leaves["b"].shape[1]) * jnp.maximum(jnp.sum(live), 1)
        return (total / entries).astype(jnp.float32)

    return each(of_module, theta, aux, gradients)


def reserve(theta: Tree, aux: Tree) -> Leaves:
    """path -> size of the component after the published ones, 0 if all are published."""

    def of_module(leaves: Leaves, entry: Leaves) -> jax.Array:
        size = jnp.linalg.norm(leaves["a"], axis=0) * jnp.linalg.norm(leaves["b"], axis=1)
        own = jnp.arange(size.shape[0]) == entry["rank"]
        return (entry["scale"] * jnp.sum(jnp.where(own, size, 0))).astype(jnp.float32)

    return each(of_module, theta, aux)


def initial(aux: Tree) -> Tree:
    """aux with averages that have seen nothing."""
    zero = jnp.zeros((), jnp.float32)
    return {path: {**e, "sensitivity": zero, "variability": zero} for path, e in aux.items()}


def averaged(aux: Tree, raw: Leaves, beta: float, due: jax.Array) -> Tree:
    """aux with its averages moved on where `due`.

    Scores that are taken every m steps only are averaged with beta^m, so that the averages reach
    back over as many steps as with beta every step.
    """

    def of_module(entry: Leaves, value: jax.Array) -> Leaves:
        old = entry["sensitivity"]
        sensitivity, spread = moved(old, entry["variability"], value.astype(old.dtype), beta)
        return {
            **entry,
            "sensitivity": jnp.where(due, sensitivity, old),
            "variability": jnp.where(due, spread, entry["variability"]),
        }

    return each(of_module, aux, raw)


def moved(sensitivity, variability, value, beta: float) -> tuple[jax.Array, jax.Array]:
    """Both averages after another value, U measured from the new I.

    Example:
      >>> [float(x) for x in moved(jnp.array(0.0), jnp.array(0.0), jnp.array(1.0), 0.5)]
      [0.5, 0.25]
    """
    sensitivity = beta * sensitivity + (1 - beta) * value
    return sensitivity, beta * variability + (1 - beta) * jnp.abs(value - sensitivity)


def combined(aux: Tree) -> jax.Array:
    """I U of every module (modules,), in the order of their paths."""
    return rows(each(lambda entry: entry["sensitivity"] * entry["variability"], aux))


def largest(score: jax.Array, eligible: jax.Array, count) -> jax.Array:
    """(modules,) bool: the `count` eligible modules of largest score; ties to the first.

    Ranked by position, because a threshold lets all tied modules pass it.
    """
    order = jnp.argsort(jnp.where(eligible, -score, jnp.inf), stable=True)
    place = (
        jnp.zeros(score.shape[0], jnp.int32)
        .at[order]
        .set(jnp.arange(score.shape[0], dtype=jnp.int32))
    )
    return eligible & (place < count)


def _mean(values: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(values.astype(jnp.float32)))
