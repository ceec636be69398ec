"""Why gradients of linear models lose rank: the slowest eigendirection is what is left of them.

Legend: G_t (m, n) the gradient after t steps of a loss whose gradient is linear in the weights,
G_{t+1} = G_t - eta sum_i B_i G_t C_i with B_i (m, m), C_i (n, n) symmetric and positive definite;
lambda_1 < lambda_2 the two smallest eigenvalues of G -> sum_i B_i G C_i; G^p the part of G_0 in the
eigenspace of lambda_1, G^o the rest; q = (1 - eta lambda_2)/(1 - eta lambda_1), for
eta <= 1/lambda_max.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from deflation.problem.spectrum import stable_rank


@functools.partial(jax.jit, static_argnames="steps")
def linear_gradients(
    gradient: jax.Array, left: jax.Array, right: jax.Array, step_size: jax.Array, steps: int
) -> jax.Array:
    """G_0..G_T of gradient descent: G <- G - eta sum_i B_i G C_i.

    Args:
      gradient: G_0 (..., m, n).
      left: B (..., N, m, m). right: C (..., N, n, n).
      step_size: eta (...). steps: T.

    Returns:
      (T + 1, ..., m, n).

    Source: arXiv 2403.03507, section 3.1.

    Example:
      >>> one = jnp.ones((1, 1))
      >>> linear_gradients(one, one[None], one[None], 0.5, 2).ravel().tolist()
      [1.0, 0.5, 0.25]
    """
    eta = jnp.asarray(step_size)[..., None, None]

    def step(state, _):
        moved = state - eta * jnp.sum(left @ state[..., None, :, :] @ right, axis=-3)
        return moved, moved

    _, path = jax.lax.scan(step, gradient, length=steps)
    return jnp.concatenate([gradient[None], path])


@jax.jit
def stable_rank_bound(kept: jax.Array, rest: jax.Array, ratio: jax.Array, steps: jax.Array):
    """sr(G_t) <= sr(G^p) + q^{2t} ||G^o||^2 / ||G^p||_2^2.

    Needs ||G_t||_2 >= (1 - eta lambda_1)^t ||G^p||_2, which holds if the eigenspace contains
    u v^T for the top singular pair (u, v) of G^p, so for a single term B G C, and not in general.

    Args:
      kept: singular values of G^p (..., K). rest: ||G^o|| (...). ratio: q. steps: t.

    Source: arXiv 2403.03507, lemma 3.3, without the condition.

    Example:
      >>> stable_rank_bound(jnp.array([1.0, 0.0]), 2.0, 0.5, 1).item()
      2.0
    """
    top = jnp.max(kept, axis=-1)
    return stable_rank(kept) + ratio ** (2 * steps) * rest**2 / top**2


@jax.jit
def stable_rank_bound_any(kept: jax.Array, rest: jax.Array, ratio: jax.Array, steps: jax.Array):
    """sr(G_t) <= (||G^p||^2 + q^{2t} ||G^o||^2) / (||G^p||_2 - q^t ||G^o||)^2, for any operator.

    inf where the bracket is not positive. Proof: the parts stay orthogonal and shrink by
    (1 - eta lambda_1)^t and by at most (1 - eta lambda_2)^t; the triangle inequality below.

    Source: proved above.

    Example:
      >>> stable_rank_bound_any(jnp.array([1.0, 0.0]), 1.0, 0.5, 1).item()
      5.0
    """
    tail = ratio**steps * rest
    least = jnp.max(kept, axis=-1) - tail
    top = jnp.sum(kept**2, axis=-1) + tail**2
    return jnp.where(least > 0, top / jnp.where(least > 0, least, 1) ** 2, jnp.inf)
