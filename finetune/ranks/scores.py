"""How much a module wants another component: a sensitivity and how much it varies.

For a module with change D = s sum_{j < rank} a_j b_j of its kernel (in, out):

  effective   sum |D * dL/dW| / sqrt(in out), L the deployed network's loss
  added       the same; the score is I + U
  factor      mean of |p * dL/dp| over the entries p of its live factors, each of its own level
  reserve     s |a_k| |b_k| of the component that trains in private
  decrease    -s dL/dg_k, by how much L falls, to first order, when that component is published

Averages over steps, for the score I U:  I <- beta I + (1 - beta) raw, then
U <- beta U + (1 - beta) |raw - I|.

Of `decrease`, which has a sign and a unit, the score is I, and U averages (raw - I)^2, its variance
over batches. A component is trained on the batches before the one that it is measured on: of what
only fits noise the decrease is 0 in expectation, whatever the component, as long as batches are not
seen twice. So I over its standard error is near Student's t there, see `significant`.

Source: AdaLoRA (Zhang et al., 2023) section 3.2 and IncreLoRA's released code, where `effective` is
divided by the root of the size and U is measured from the updated I; `decrease` is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from scipy.special import stdtrit

from finetune.adapters import factors
from finetune.adapters.by_component import along
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import column, each, rows

Deviation = Callable[[jax.Array], jax.Array]

KINDS = ("effective", "added", "factor", "reserve", "decrease")
OF_PRIVATE = ("reserve", "decrease")
"""Those that look at the component that trains in private."""

AUTO, LEVEL = "auto", 0.05
"""The rank that is found by a test, and the test's level."""


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


def decrease(aux: Tree, of_gain: Leaves) -> Leaves:
    """path -> scalar, from the gradients (R,) of the gains of the deployed network.

    Example:
      >>> entry = {"scale": jnp.asarray(2.0), "rank": jnp.asarray(1), "private": jnp.asarray(1)}
      >>> decrease({"fc": entry}, {"fc": jnp.asarray([5.0, -3.0, 7.0])})["fc"].tolist()
      6.0
    """

    def of_module(entry: Leaves, gradient: jax.Array) -> jax.Array:
        own = jnp.arange(gradient.shape[0]) == entry["rank"]
        own &= entry["private"] > 0
        return (-entry["scale"] * jnp.sum(jnp.where(own, gradient, 0))).astype(jnp.float32)

    return each(of_module, aux, of_gain)


def initial(aux: Tree) -> Tree:
    """aux with averages that have seen nothing."""
    zero = jnp.zeros((), jnp.float32)
    return {path: {**e, "sensitivity": zero, "variability": zero} for path, e in aux.items()}


def averaged(
    aux: Tree, raw: Leaves, beta: float, due: jax.Array, deviation: Deviation = jnp.abs
) -> Tree:
    """aux with its averages moved on where `due`; U averages `deviation` of raw - I.

    Scores that are taken every m steps only are averaged with beta^m, so that the averages reach
    back over as many steps as with beta every step.
    """

    def of_module(entry: Leaves, value: jax.Array) -> Leaves:
        old = entry["sensitivity"]
        value = value.astype(old.dtype)
        sensitivity, spread = moved(old, entry["variability"], value, beta, deviation)
        return {
            **entry,
            "sensitivity": jnp.where(due, sensitivity, old),
            "variability": jnp.where(due, spread, entry["variability"]),
        }

    return each(of_module, aux, raw)


def moved(
    sensitivity, variability, value, beta: float, deviation: Deviation = jnp.abs
) -> tuple[jax.Array, jax.Array]:
    """Both averages after another value, U measured from the new I.

    Example:
      >>> [float(x) for x in moved(jnp.array(0.0), jnp.array(0.0), jnp.array(1.0), 0.5)]
      [0.5, 0.25]
    """
    sensitivity = beta * sensitivity + (1 - beta) * value
    return sensitivity, beta * variability + (1 - beta) * deviation(value - sensitivity)


def forgotten(entry: Leaves, where) -> Leaves:
    """The entry of a module with averages that have seen nothing where `where`.

    Example:
      >>> entry = {"sensitivity": jnp.asarray(3.0), "variability": jnp.asarray(2.0)}
      >>> [leaf.tolist() for leaf in forgotten(entry, True).values()]
      [0.0, 0.0]
    """
    averages = ("sensitivity", "variability")
    return {**entry, **{name: jnp.where(where, 0, entry[name]) for name in averages}}


def combined(aux: Tree, kind: str) -> jax.Array:
    """The score of every module (modules,), in the order of their paths.

    Example:
      >>> aux = {"fc": {"sensitivity": jnp.asarray(3.0), "variability": jnp.asarray(2.0)}}
      >>> [combined(aux, kind).tolist() for kind in ("effective", "added", "decrease")]
      [[6.0], [5.0], [3.0]]
    """
    mean, spread = (rows(column(aux, name)) for name in ("sensitivity", "variability"))
    return {"decrease": mean, "added": mean + spread}.get(kind, mean * spread)


def significant(aux: Tree, beta: float, level: float) -> jax.Array:
    """(modules,) bool: I is above 0 by more than noise would have it, of averaged `decrease`.

    One-sided, I > t sqrt(v / n): n = (1 + beta) / (1 - beta) is the number of equal weights that
    average as well as these, v = U (1 + beta) / (2 beta^2) the variance of raw (U is measured from
    an average that has moved towards it), t Student's quantile of level / modules with n - 1
    degrees of freedom. So with no decrease anywhere some module passes with a probability of at
    most `level` (Bonferroni; measured 0.005 for a level of 0.05, 50 modules and beta 0.85).

    Example:
      >>> aux = {p: {"sensitivity": jnp.asarray(i), "variability": jnp.asarray(1.0)}
      ...        for p, i in (("x", 0.5), ("y", 1.0))}
      >>> significant(aux, beta=0.8, level=0.05).tolist()
      [False, True]
    """
    mean, square = (rows(column(aux, name)) for name in ("sensitivity", "variability"))
    return beyond_noise(mean, square, beta, level / len(mean))


def beyond_noise(mean: jax.Array, square: jax.Array, beta: float, level: float) -> jax.Array:
    """The test of `significant` for each entry by itself, at the level as it is.

    Args:
      mean, square: I and U, the latter an average of squares.
      beta: of both, above 0.
    """
    count = (1 + beta) / (1 - beta)
    quantile = -float(stdtrit(count - 1, level))
    return mean > quantile * jnp.sqrt(square * (1 + beta) / (2 * beta**2 * count))


def by_test(rank: Any, level: float | None) -> tuple[Any, float | None]:
    """(rank, level) of settings whose rank may be "auto": as many as the test lets pass, up to the
    default rank (None), at the level that is given or `LEVEL`.

    Example:
      >>> by_test("auto", None), by_test(3, None)
      ((None, 0.05), (3, None))
    """
    if rank != AUTO:
        return rank, level
    return None, LEVEL if level is None else level


def require_level(name: str, value: float) -> None:
    """Refuses a level that is no probability between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; allowed are numbers between 0 and 1")


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
