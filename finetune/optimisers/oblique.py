"""Factors whose columns (of a) and rows (of b) have norm 1: the oblique manifold."""

from __future__ import annotations

import jax.numpy as jnp

from finetune.adapters.by_component import along
from finetune.adapters.factors import AXIS
from finetune.adapters.method import Tree


def unit(theta: Tree) -> Tree:
    """theta with every factor divided by its norm; gains d stay.

    Example:
      >>> unit({"fc": {"a": jnp.array([[3.0], [4.0]]), "d": jnp.ones(1)}})["fc"]["a"].tolist()
      [[0.6000000238418579], [0.800000011920929]]
    """

    def unit_leaf(name, leaf):
        if name == "d":
            return leaf
        return leaf / jnp.linalg.norm(leaf, axis=1 - AXIS[name], keepdims=True)

    return {p: {n: unit_leaf(n, leaf) for n, leaf in leaves.items()} for p, leaves in theta.items()}


def tangent(gradients: Tree, theta: Tree) -> Tree:
    """The part of the gradients that to first order keeps the norms; none for gains d.

    Example:
      >>> theta = {"fc": {"a": jnp.array([[1.0], [0.0]])}}
      >>> tangent({"fc": {"a": jnp.ones((2, 1))}}, theta)["fc"]["a"].tolist()
      [[0.0], [1.0]]
    """

    def tangent_leaf(name, g, p):
        if name == "d":
            return jnp.zeros_like(g)
        return g - p * along(jnp.sum(g * p, axis=1 - AXIS[name]), name)

    return {
        path: {name: tangent_leaf(name, g, theta[path][name]) for name, g in leaves.items()}
        for path, leaves in gradients.items()
    }
