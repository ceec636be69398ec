"""The first phase of a factored update: its linear dynamics, and for how long they are right.

Legend: as in `linear_teacher`; s = ||G||_2, l = ||S||_2, q = sqrt(eta_1 eta_2), rho = 1 + q s. The
stacked state is Z = (A', B'^T) = (A/sqrt(eta_1), B^T/sqrt(eta_2)), in which one step is Z+ = (I + q
[[0, G], [G^T, 0]]) Z - q^2 [[0, S A' B'], [(S A' B')^T, 0]] Z.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="steps")
def linearised_factors(
    gradient: jax.Array, a: jax.Array, rate_a: jax.Array, rate_b: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """A_t = U diag(((1+q s)^t + (1-q s)^t)/2) U^T A_0, B_t^T = c V diag((..-..)/2) U_1^T A_0.

    c = sqrt(eta_2/eta_1); s_i = 0 on the complement, where A stays. Without the cubic term the
    update is Z_t = H^t Z_0, H = [[I, eta_1 G], [eta_2 G^T, I]]; this is its closed form.

    Args:
      gradient: G (d, k).
      a: A_0 (d, r).
      rate_a: eta_1. rate_b: eta_2.
      steps: t.

    Returns:
      (d, r) and (r, k), same dtype.

    Source: arXiv 2502.01235, the linear approximation behind theorem 3.2.

    Example:
      >>> one = jnp.ones((1, 1))
      >>> [w.item() for w in linearised_factors(one, one, 1.0, 1.0, 3)]
      [4.0, 4.0]
    """
    left, values, right = jnp.linalg.svd(gradient, full_matrices=False)
    mean_step = jnp.sqrt(rate_a * rate_b)
    grown, shrunk = (1 + mean_step * values) ** steps, (1 - mean_step * values) ** steps
    inside = left.T @ a
    first = a + left @ (((grown + shrunk) / 2 - 1)[:, None] * inside)
    second = jnp.sqrt(rate_b / rate_a) * (right.T * ((grown - shrunk) / 2)) @ inside
    return first, second.T


@functools.partial(jax.jit, static_argnames="steps")
def linearisation_bound(
    start: jax.Array, slope: jax.Array, curvature: jax.Array, mean_step: jax.Array, steps: int
) -> jax.Array:
    """||Z_t - Z_t^lin||_F <= y_t - rho^t y_0, y_{t+1} = rho y_t + q^2 l y_t^3/2, y_0 = ||Z_0||_F.

    Proof: ||A'||_F ||B'||_F <= ||Z||_F^2/2, so that the cubic term is at most q^2 l ||Z||_F^3/2 and
    ||Z_t||_F <= y_t; the error obeys e_{t+1} <= rho e_t + q^2 l y_t^3/2, the recursion of the right
    side.

    Args:
      start: y_0 = ||A_0||_F/sqrt(eta_1), (...).
      slope: s (...).
      curvature: l (...).
      mean_step: q (...).
      steps: t.

    Returns:
      (..., t + 1), for every step from 0 on; +inf where it overflows.

    Source: proved above.

    Example:
      >>> linearisation_bound(jnp.array(1.0), jnp.array(1.0), jnp.array(2.0), 1.0, 2).tolist()
      [0.0, 1.0, 29.0]
    """
    growth = 1 + mean_step * slope

    def step(carry, _):
        whole, error = carry
        cubic = mean_step**2 * curvature * whole**3 / 2
        return (growth * whole + cubic, growth * error + cubic), error

    start = jnp.asarray(start)
    _, errors = jax.lax.scan(step, (start, jnp.zeros_like(start)), None, length=steps + 1)
    return jnp.moveaxis(errors, 0, -1)


@jax.jit
def validity_time(
    start: jax.Array,
    slope: jax.Array,
    curvature: jax.Array,
    rate_a: jax.Array,
    rate_b: jax.Array,
    accuracy: jax.Array,
) -> jax.Array:
    """T(delta) = ln(4 delta s/((1 + delta)^3 l c ||A_0||_F^2))/(2 ln rho), c = sqrt(eta_2/eta_1).

    For t <= T + 1/2 the linear dynamics are right up to delta rho^t ||Z_0||_F. Proof: while
    y_j <= (1 + delta) rho^j y_0 for j < t (see `linearisation_bound`), the error is at most
    rho^t y_0 (1 + delta)^3 (q^2 l/2) y_0^2 sum_{j<t} rho^{2j-1}, and the sum is at most
    rho^{2t-1}/(rho^2 - 1) <= rho^{2t-1}/(2 q s).

    Args:
      start: ||A_0||_F (...).
      slope: s (...).
      curvature: l (...).
      rate_a: eta_1 (...). rate_b: eta_2 (...).
      accuracy: delta (...).

    Returns:
      (...), in steps; negative where the start is too large for any.

    Source: the time T_1 = ln(||G||/||A_0||^2)/(2 ln(1 + q ||G||)) of the talk on arXiv 2502.01235,
    with the factors that it leaves out.

    Example:
      >>> time = validity_time(*(jnp.array(x) for x in (0.25, 1.0, 1.0, 1.0, 1.0, 1.0)))
      >>> round(time.item(), 6)
      1.5
    """
    imbalance = jnp.sqrt(rate_b / rate_a)
    allowed = 4 * accuracy * slope / (1 + accuracy) ** 3
    growth = jnp.log1p(jnp.sqrt(rate_a * rate_b) * slope)
    return jnp.log(allowed / (curvature * imbalance * start**2)) / (2 * growth)
