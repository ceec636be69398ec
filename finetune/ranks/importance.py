"""AdaLoRA's importance of every component: from the sensitivity of each entry of its factors.

For a parameter p with gradient g, in every step

    i = |p g|,  I <- beta I + (1 - beta) i,  U <- beta U + (1 - beta) |i - I|,  s = I U

with U from the updated I and without correction for the start. Component j of a module scores

    S_j = s(d_j) + mean_i s(a_ij) + mean_o s(b_jo)

aux[path] keeps I and U of leaf n as "sensitivity_n" and "variability_n".

Source: Zhang et al. (2023), arXiv 2303.10512, equations 8 to 11; the mean is the released code's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import dealt, each, rows
from finetune.ranks.scores import largest, moved


def initial(theta: Tree, aux: Tree) -> Tree:
    """aux with averages that have seen nothing."""
    return {
        path: {
            **entry,
            **{f"sensitivity_{n}": jnp.zeros_like(leaf) for n, leaf in theta[path].items()},
            **{f"variability_{n}": jnp.zeros_like(leaf) for n, leaf in theta[path].items()},
        }
        for path, entry in aux.items()
    }


def averaged(aux: Tree, parameters: Tree, gradients: Tree, beta: float, due: jax.Array) -> Tree:
    """aux with its averages moved on where `due`."""

    def of_module(entry: Leaves, own: Leaves, gradient: Leaves) -> Leaves:
        changed: Leaves = {}
        for name, p in own.items():
            keys = f"sensitivity_{name}", f"variability_{name}"
            values = moved(*(entry[k] for k in keys), jnp.abs(p * gradient[name]), beta)
            for key, value in zip(keys, values, strict=True):
                changed[key] = jnp.where(due, value, entry[key])
        return {**entry, **changed}

    return each(of_module, aux, parameters, gradients)


def components(aux: Tree) -> jax.Array:
    """S of all components (modules, R), modules in the order of their paths.

    Example:
      >>> one = {"d": jnp.ones(2), "a": jnp.ones((3, 2)), "b": jnp.array([[4.0], [0.0]])}
      >>> entry = {f"{w}_{n}": x for w in ("sensitivity", "variability") for n, x in one.items()}
      >>> components({"fc": entry}).tolist()
      [[18.0, 2.0]]
    """

    def of_module(entry: Leaves) -> jax.Array:
        d, a, b = (entry[f"sensitivity_{n}"] * entry[f"variability_{n}"] for n in "dab")
        return d + jnp.mean(a, axis=0) + jnp.mean(b, axis=1)

    return rows(each(of_module, aux))


def masked(theta: Tree, score: jax.Array, budget: jax.Array) -> Tree:
    """theta with d = 0 but for the `budget` components of largest score (modules, R).

    The official threshold masks every component that ties with it, and has no value for "mask
    none"; here exactly `budget` are kept, of equals the first.
    """
    kept = largest(score.ravel(), jnp.ones(score.size, bool), budget).reshape(score.shape)

    def of_module(leaves: Leaves, kept: jax.Array) -> Leaves:
        return {**leaves, "d": jnp.where(kept, leaves["d"], 0)}

    return each(of_module, theta, dealt(kept, theta))
