"""The bookkeeping of IncreLoRA: which components of a module are live, which are its reserve.

Components are numbered in the order of creation: those below `rank` are live, the following below
`width` the reserve, and others do not exist yet. aux[path] has both (int32), the scale s, the ages
of the parts (see `component_ages`), and the averages of the module's score.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from finetune.adapters.method import Leaves, Tree
from finetune.ranks import component_ages, scores

D = 1e-5
"""d of a reserve."""


class Growth(NamedTuple):
    """How modules grow.

    Attributes:
      rank: R, components of a module at most.
      budget: live components of all modules at the end.
      add: components that a module grows by.
      grow: modules that grow at a time.
      every, t_init: growth is due after steps t > t_init that are multiples of `every`.
      alpha: the scale is alpha / (rank + 1e-5).
      mean: the rank that scales are for throughout, None for the module's current one.
    """

    rank: int
    budget: int
    add: int
    grow: int
    every: int
    t_init: int
    alpha: float
    mean: float | None

    def scale(self, rank) -> jax.Array:
        """s of a module with so many live components."""
        return self.alpha / ((rank if self.mean is None else self.mean) + 1e-5)


def initial(growth: Growth, theta: Tree) -> Tree:
    """aux of modules with one live component and no reserve yet."""
    one, age = jnp.ones((), jnp.int32), jnp.zeros(growth.rank, jnp.int32)
    aux = {}
    for path, leaves in theta.items():
        dtype = leaves["a"].dtype
        aux[path] = {
            "scale": jnp.asarray(growth.scale(1), dtype),
            "rank": one,
            "width": one,
            "age/factors": age,
            "age/gain": age,
            "sensitivity": jnp.zeros((), dtype),
            "variability": jnp.zeros((), dtype),
        }
    return aux


def below(entry: Leaves, name: str) -> jax.Array:
    """(R,) bool: components with a number below "rank" or "width".

    Example:
      >>> below({"age/gain": jnp.zeros(3), "rank": jnp.asarray(2)}, "rank").tolist()
      [True, True, False]
    """
    return jnp.arange(entry["age/gain"].shape[0]) < entry[name]


def active(aux: Tree) -> Leaves:
    """What is trained, by part: factors of live components and reserves, gains of live ones."""
    ends = {"/factors": "width", "/gain": "rank"}
    return {p + part: below(entry, end) for p, entry in aux.items() for part, end in ends.items()}


def trained(aux: Tree) -> Leaves:
    """Steps for which the parts have been trained."""
    return {
        p + part: entry[f"age{part}"] for p, entry in aux.items() for part in component_ages.PARTS
    }


def room(growth: Growth, aux: Tree) -> jax.Array:
    """How many more times a module can grow, 0 at the end."""
    return (growth.budget - sum(entry["rank"] for entry in aux.values())) // growth.add


def grown(growth: Growth, aux: Tree, step: jax.Array) -> Tree:
    """aux at the end of a step: older, and after the growth that is due, if one is.

    At most `room` modules grow, so that the budget is never exceeded.
    """
    rank = jnp.stack([entry["rank"] for entry in aux.values()])
    due = (step > growth.t_init) & (step % growth.every == 0)
    count = jnp.where(due, jnp.minimum(growth.grow, room(growth, aux)), 0)
    score = scores.combined(aux, "effective")
    chosen = scores.largest(score, rank + growth.add <= growth.rank, count)
    on, new = active(aux), {}
    for i, (path, entry) in enumerate(aux.items()):
        more = (rank[i] + jnp.where(chosen[i], growth.add, 0)).astype(jnp.int32)
        older = {
            f"age{part}": entry[f"age{part}"] + on[path + part].astype(jnp.int32)
            for part in component_ages.PARTS
        }
        new[path] = {
            **entry,
            **older,
            "rank": more,
            "width": jnp.minimum(more + growth.add, growth.rank).astype(jnp.int32),
            "scale": jnp.asarray(growth.scale(more), entry["scale"].dtype),
        }
    return new


def placed(growth: Growth, theta: Tree, aux: Tree) -> Tree:
    """theta with d of reserves as it has to be, and 0 for what does not exist.

    Once nothing can grow any more, reserves leave the network.
    """
    size, new = jnp.where(room(growth, aux) > 0, D, 0.0), {}
    for path, leaves in theta.items():
        other = jnp.where(below(aux[path], "width"), size, 0).astype(leaves["d"].dtype)
        new[path] = {**leaves, "d": jnp.where(below(aux[path], "rank"), leaves["d"], other)}
    return new
