"""The penalty that keeps the factors of AdaLoRA and IncreLoRA near orthonormal ones.

With the Gram errors E_a = a^T a - I and E_b = b b^T - I of each of n modules,

    norm      gamma / (2 n) sum (|E_a|_F + |E_b|_F)
    squares   gamma sum (|E_a|_F^2 + |E_b|_F^2)

`norm` is what the released code of both does, and the default here, because the weights gamma in
its scripts are for it; `squares` is what both papers write (AdaLoRA, arXiv 2303.10512, equation 4).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from finetune.adapters.method import Leaves, Tree
from finetune.adapters.tables import each, rows

FORMS = ("norm", "squares")


def penalty(theta: Tree, weight: float, form: str, existing: Leaves | None = None) -> jax.Array:
    """The penalty, a scalar in the dtype of the factors.

    Args:
      theta: path -> {a (in, R), b (R, out), ...}.
      weight: gamma.
      form: one of `FORMS`.
      existing: path -> (R,) bool; others are left out and get no gradient. All if None.

    Example:
      >>> theta = {"fc": {"a": jnp.eye(3, 2), "b": 2 * jnp.eye(2, 4)}}
      >>> [round(float(penalty(theta, 1.0, form)), 3) for form in FORMS]
      [2.121, 18.0]
    """

    def of_module(leaves: Leaves, *on: jax.Array) -> jax.Array:
        on = on[0] if on else jnp.ones(leaves["b"].shape[0], bool)
        errors = []
        for vectors in (leaves["a"].T, leaves["b"]):
            kept = jnp.where(on[:, None], vectors, 0)
            gram = jnp.matmul(kept, kept.T, precision=jax.lax.Precision.HIGHEST)
            errors.append(jnp.sum((gram - jnp.diag(on.astype(gram.dtype))) ** 2))
        return jnp.stack(errors)

    squares = rows(each(of_module, theta, *([] if existing is None else [existing])))
    if form == "squares":
        return weight * jnp.sum(squares)
    return weight * jnp.mean(_root(squares))


def _root(squares: jax.Array) -> jax.Array:
    """The square root with derivative 0 at 0: with one component an exact 0 does happen."""
    some = squares > 0
    return jnp.where(some, jnp.sqrt(jnp.where(some, squares, 1)), 0)
