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
    new = {}
    for path, entry in aux.items():
        changed: Leaves = {}
        for name, p in parameters[path].items():
            keys = f"sensitivity_{name}", f"variability_{name}"
            values = moved(*(entry[k] for k in keys), jnp.abs(p * gradients[path][name]), beta)
            for key, value in zip(keys, values, strict=True):
                changed[key] = jnp.where(due, value, entry[key])
        new[path] = {**entry, **changed}
    return new


def components(aux: Tree) -> jax.Array:
    """S of all components (modules, R), modules in the order of aux.

    Example:
      >>> one = {"d": jnp.ones(2), "a": jnp.ones((3, 2)), "b": jnp.array([[4.0], [0.0]])}
      >>> entry = {f"{w}_{n}": x for w in ("sensitivity", "variability") for n, x in one.items()}
      >>> components({"fc": entry}).tolist()
      [[18.0, 2.0]]
    """
    scores = []
    for entry in aux.values():
        d, a, b = (entry[f"sensitivity_{n}"] * entry[f"variability_{n}"] for n in "dab")
        scores.append(d + jnp.mean(a, axis=0) + jnp.mean(b, axis=1))
    return jnp.stack(scores)


def masked(theta: Tree, score: jax.Array, budget: jax.Array) -> Tree:
    """theta with d = 0 but for the `budget` components of largest score (modules, R).

    The official threshold masks every component that ties with it, and has no value for "mask
    none"; here exactly `budget` are kept, of equals the first.
    """
    kept = largest(score.ravel(), jnp.ones(score.size, bool), budget).reshape(score.shape)
    return {
        path: {**leaves, "d": jnp.where(kept[i], leaves["d"], 0)}
        for i, (path, leaves) in enumerate(theta.items())
    }
