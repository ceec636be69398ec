"""Gradients of two factors, each divided by the other's Gram matrix, before any optimiser.

g_a (b b^T + lam I)^{-1} and (a^T a + lam I)^{-1} g_b: a step of plain descent then moves a b by the
same amount whatever the factors' sizes, (a m, m^{-1} b) being the same product.

Source: arXiv 2402.02347; arXiv 2502.01235, algorithm 1; the public code of both.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.method import Tree
from finetune.models.parts.ops import matmul

ORDERS = ("gauss_seidel", "jacobi")
ORDER = "whether b's preconditioner sees the new a (gauss_seidel) or the old one (jacobi)"


def preconditioned(
    inner: optax.GradientTransformationExtraArgs, damping: float, order: str
) -> optax.GradientTransformationExtraArgs:
    """`inner`, a whole optimiser with its rate, on preconditioned gradients.

    Args:
      inner: acts entry by entry, as Adam does: it is run on the a and on the b of all modules with
        a state for each.
      damping: lam > 0; without it b = 0, or a rank above the target's, has no inverse.
      order: "jacobi" takes both Gram matrices before the step; "gauss_seidel", which the public
        AdamW has, b's from the a that was just updated.

    Example:
      >>> tx = preconditioned(optax.sgd(1.0), 1.0, "jacobi")
      >>> theta = {"fc": {"a": jnp.ones((2, 1)), "b": 2 * jnp.ones((1, 3))}}
      >>> updates, _ = tx.update(theta, tx.init(theta), theta, step=0)
      >>> [round(float(updates["fc"][name][0, 0]), 4) for name in "ab"]
      [-0.0769, -0.6667]
    """
    inner = optax.with_extra_args_support(inner)

    def init(theta: Tree) -> dict[str, Any]:
        return {name: inner.init(_only(theta, name)) for name in "ab"}

    def update(gradients: Tree, state, theta: Tree, **extra):
        of_a = {
            path: {
                "a": _solved(matmul(leaves["b"], leaves["b"].T), gradients[path]["a"].T, damping).T
            }
            for path, leaves in theta.items()
        }
        moved_a, state_a = inner.update(of_a, state["a"], _only(theta, "a"), **extra)
        of_b = {}
        for path, leaves in theta.items():
            a = leaves["a"] + moved_a[path]["a"] if order == "gauss_seidel" else leaves["a"]
            of_b[path] = {"b": _solved(matmul(a.T, a), gradients[path]["b"], damping)}
        moved_b, state_b = inner.update(of_b, state["b"], _only(theta, "b"), **extra)
        return {p: moved_a[p] | moved_b[p] for p in theta}, {"a": state_a, "b": state_b}

    return optax.GradientTransformationExtraArgs(init, update)


def uncorrected_adam(beta1: float, beta2: float, epsilon: float) -> optax.GradientTransformation:
    """m / (sqrt(v) + epsilon) without the correction of the moments' first steps.

    The first updates are (1 - beta1) / sqrt(1 - beta2) = 3.2 times as large as with it.

    Example:
      >>> tx = uncorrected_adam(0.9, 0.999, 1e-8)
      >>> updates, _ = tx.update(jnp.ones(1), tx.init(jnp.ones(1)))
      >>> round(float(updates[0]), 3)
      3.162
    """

    def init(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return {"m": zeros, "v": zeros}

    def update(gradients, state, params=None):
        del params
        m = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state["m"], gradients)
        v = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, state["v"], gradients)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + epsilon), m, v), {"m": m, "v": v}

    return optax.GradientTransformation(init, update)


def _only(theta: Tree, name: str) -> Tree:
    return {path: {name: leaves[name]} for path, leaves in theta.items()}


def _solved(gram: jax.Array, right: jax.Array, damping: float) -> jax.Array:
    """(gram + lam I)^{-1} right, by Cholesky: gram is positive semi-definite."""
    whole = gram + damping * jnp.eye(gram.shape[0], dtype=gram.dtype)
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(whole), right)
