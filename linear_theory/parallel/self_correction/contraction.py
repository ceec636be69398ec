"""How much one round of a worker contracts its error, when its predecessors are exact.

Legend: s_1 >= ... >= s_K the singular values of the whitened target M (m, d), s_{K+1} = 0;
T_k = s_k - s_{k+1}; F_k the factor by which a round reduces ||R_{k,l} - R*_k||; T sweeps or steps
in a round; b (m,) and a (d,) a worker's factors in original coordinates, S = X X^T (d, d).

Functions of a spectrum take (..., K), return (..., K) unless they say otherwise, keep the dtype,
and raise ValueError for an empty spectrum.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum, spectral_gaps


@jax.jit
def alternating_rate(singular_values: jax.Array, sweeps: int = 1) -> jax.Array:
    """F_k = (s_{k+1}/s_k)^{2T}, the late contraction of alternating least squares; 1 where s_k = 0.

    Source: power iteration, e.g. Golub and Van Loan, section 8.2; arXiv 2605.10741.

    Example:
      >>> alternating_rate(jnp.array([4.0, 2.0, 2.0, 0.0])).tolist()
      [0.25, 1.0, 0.0, 1.0]
    """
    values = as_spectrum(singular_values)
    positive = values > 0
    after = values - spectral_gaps(values)
    return jnp.where(positive, after / jnp.where(positive, values, 1), 1) ** (2 * sweeps)


@jax.jit
def alternating_contraction(ratio: jax.Array, cosine: jax.Array, sweeps: int = 1) -> jax.Array:
    """||R_l - R^|| / ||R_{l-1} - R^|| <= sqrt(1 + q^2) q^{2T} / cos t, guaranteed in every round.

    Proof: R_l = A v v^T for the worker's target A, so that ||R_l - R^|| is sin t' sqrt(s_1^2 +
    ||A w||^2) <= sin t' s_1 sqrt(1 + q^2), w the direction of v's part off the top vector v_1 and
    t' the angle of v with v_1. Power iteration has sin t' <= tan t' <= q^{2T} tan t. Before the
    round ||b a^T - R^||^2 = ||b - s_1 cos t u_1||^2 + s_1^2 sin^2 t >= s_1^2 sin^2 t, |a| = 1.

    Args:
      ratio: q, second over first singular value of the worker's target.
      cosine: cos t > 0, between a before the round and v_1; broadcasts.
      sweeps: T.

    Returns:
      The factor; +inf where cos t = 0. It may exceed 1 in the first rounds.

    Source: proved above.

    Example:
      >>> round(float(alternating_contraction(jnp.array(0.5), jnp.array(0.5))), 3)
      0.559
    """
    return jnp.sqrt(1 + ratio**2) * ratio ** (2 * sweeps) / cosine


@jax.jit
def descent_eigenvalues(singular_values: jax.Array) -> jax.Array:
    """Hessian of 1/2 ||M_k - b a^T||^2 at a balanced optimum |b| = |a|, X X^T = I, gauge left out.

    The pairs (u_i, v_i) give s_k +- s_i for i > k, and s_k twice for i < k, where M_k is deflated;
    the pair of component k itself gives 2 s_k (here twice) beside the gauge mode 0. Rows or columns
    beyond K give s_k. All lie in [T_k, 2 s_k].

    Takes (..., K), returns (..., K, 2 K), in the unit of the singular values.
    Source: direct computation of the Hessian blocks, see `descent_hessian`.

    Example:
      >>> descent_eigenvalues(jnp.array([3.0, 1.0]))[0].tolist()
      [6.0, 4.0, 6.0, 2.0]
    """
    values = as_spectrum(singular_values)
    own, other = values[..., :, None], values[..., None, :]
    count = values.shape[-1]
    later = jnp.arange(count) >= jnp.arange(count)[:, None]
    shift = jnp.where(later, other, 0)
    minus = jnp.where(jnp.eye(count, dtype=bool), -own, shift)
    return jnp.concatenate([own + shift, own - minus], axis=-1)


@jax.jit
def descent_rate(eigenvalues: jax.Array, step_size: jax.Array, steps: int = 1) -> jax.Array:
    """F = max |1 - eta lambda|^T over the non-gauge eigenvalues of the Hessian.

    Args:
      eigenvalues: (..., N).
      step_size: eta > 0, broadcasting against (...).
      steps: T.

    Returns:
      (...), without unit.

    Source: gradient descent on a quadratic; arXiv 2605.10741 leaves F_k to the solver.

    Example:
      >>> descent_rate(jnp.array([1.0, 3.0]), 0.5).item()
      0.5
    """
    return jnp.max(jnp.abs(1 - jnp.asarray(step_size)[..., None] * eigenvalues), axis=-1) ** steps


@jax.jit
def best_descent_step(singular_values: jax.Array) -> jax.Array:
    """eta_k = 2/(2 s_k + T_k), with which F_k = ((2 s_k - T_k)/(2 s_k + T_k))^T is least.

    Source: the optimal step 2/(L + mu) for eigenvalues in [mu, L] = [T_k, 2 s_k].

    Example:
      >>> best_descent_step(jnp.array([3.0, 1.0]))[0].item()
      0.25
    """
    values = as_spectrum(singular_values)
    return 2 / (2 * values + spectral_gaps(values))


@jax.jit
def descent_hessian(b: jax.Array, a: jax.Array, cross: jax.Array, gram: jax.Array) -> jax.Array:
    """Hessian of 1/2 ||Y_k - b a^T X||^2 in (b, a): blocks (a^T S a) I, |b|^2 S, 2 b (S a)^T - C.

    Args:
      b: (m,). a: (d,).
      cross: C = Y_k X^T (m, d), Y_k the deflated targets.
      gram: S = X X^T (d, d).

    Returns:
      (m + d, m + d), symmetric. At an optimum it has one zero eigenvalue, the gauge (b, -a).

    Source: second derivatives; the gradient is (b (a^T S a) - C a, S a |b|^2 - C^T b).

    Example:
      >>> one = jnp.ones(1)
      >>> descent_hessian(one, one, jnp.ones((1, 1)), jnp.ones((1, 1))).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    image = gram @ a
    mixed = 2 * jnp.outer(b, image) - cross
    top = jnp.concatenate([(a @ image) * jnp.eye(len(b), dtype=b.dtype), mixed], axis=1)
    bottom = jnp.concatenate([mixed.T, (b @ b) * gram], axis=1)
    return jnp.concatenate([top, bottom])


@jax.jit
def non_gauge(hessian: jax.Array) -> jax.Array:
    """Eigenvalues of the Hessian at an optimum, ascending, without the one nearest to zero.

    Takes (..., N, N), returns (..., N - 1).

    Example:
      >>> non_gauge(jnp.diag(jnp.array([2.0, 0.0, 1.0]))).tolist()
      [1.0, 2.0]
    """
    values = jnp.linalg.eigvalsh(hessian)
    gauge = jnp.argmin(jnp.abs(values), axis=-1, keepdims=True)
    index = jnp.arange(values.shape[-1] - 1)
    return jnp.take_along_axis(values, index + (index >= gauge), axis=-1)
