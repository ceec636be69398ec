"""Preconditioned descent on two factors: the update of the product, and rates without kappa.

Legend: as in `linear_teacher`; Z = A B, R = Z - Delta, M = S R the gradient in Z; P_A and P_B the
projectors on the columns of A and on the rows of B, P = U U^T that on the columns of Delta; dev =
||S - I||_2.

Functions of matrices take JAX or numpy arrays with any leading axes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.adaptation.linear_teacher import Array


def preconditioned_step(
    slope: Array, a: Array, b: Array, step_size: Array, damping: float = 0.0
) -> tuple[Array, Array]:
    """A+ = A - eta M B^T (B B^T + lam I)^{-1}, B+ = B - eta (A^T A + lam I)^{-1} A^T M.

    Args:
      slope: M (..., d, k), the gradient of the loss in the product.
      a: (..., d, r). b: (..., r, k).
      step_size: eta, broadcasting against (..., 1, 1).
      damping: lam >= 0; with 0 both factors must have rank r.

    Returns:
      The next a and b.

    Source: arXiv 2502.01235, theorem 3.6; scaled gradient descent, Tong, Ma and Chi 2021.

    Example:
      >>> import numpy as np
      >>> one = np.ones((1, 1))
      >>> [w.item() for w in preconditioned_step(one, 2 * one, one, 0.5)]
      [1.5, 0.75]
    """
    inverse = a.__array_namespace__().linalg.inv
    ridge = damping * a.__array_namespace__().eye(a.shape[-1], dtype=a.dtype)
    next_a = a - step_size * slope @ b.mT @ inverse(b @ b.mT + ridge)
    return next_a, b - step_size * inverse(a.mT @ a + ridge) @ a.mT @ slope


def product_step(slope: Array, product: Array, rank: int, step_size: float) -> Array:
    """Z+ = Z - eta (P_A M + M P_B) + eta^2 M Z^+ M: without damping the factors do not matter.

    Args:
      slope: M (..., d, k).
      product: Z (..., d, k), of rank `rank`.
      rank: r.
      step_size: eta.

    Returns:
      (..., d, k).

    Source: the product of the two updates, B^T (B B^T)^{-1} (A^T A)^{-1} A^T being Z^+.

    Example:
      >>> import numpy as np
      >>> one = np.ones((1, 1))
      >>> product_step(one, 2 * one, 1, 0.5).item()
      1.125
    """
    left, values, right = product.__array_namespace__().linalg.svd(product, full_matrices=False)
    left, values, right = left[..., :rank], values[..., :rank], right[..., :rank, :]
    columns, rows = left.mT @ slope, slope @ right.mT
    mixed = (rows / values[..., None, :]) @ columns
    return product - step_size * (left @ columns + rows @ right) + step_size**2 * mixed


@jax.jit
def population_rate(step_size: jax.Array) -> jax.Array:
    """max(1 - eta, |1 - 2 eta|), the factor per step near Delta for S = I; least at eta = 2/3.

    Near Delta R = P R + R P_B - P R P_B; the part in both spaces gets 1 - 2 eta, others 1 - eta.

    Takes and returns (...). Source: derived here; arXiv 2502.01235, theorem 3.6, has 1 - eta/2,
    which is larger only for eta <= 4/5.

    Example:
      >>> population_rate(jnp.array([0.5, 1.0])).tolist()
      [0.5, 1.0]
    """
    return jnp.maximum(1 - step_size, jnp.abs(1 - 2 * step_size))


def mode_factors(gram: Array, left: Array) -> Array:
    """Spectrum of (I + P) S: from the spectral start, errors near Delta get 1 - eta times these.

    The rows of Z stay in those of Delta, so that P_B R = R and R+ = R - eta (I + P_A) S R + ... .

    Args:
      gram: S (..., d, d). left: U (..., d, r*), orthonormal.

    Returns:
      (..., d), ascending, from l_min(S) to 2 l_max(S); 1 and 2 for S = I.

    Source: derived above.

    Example:
      >>> import numpy as np
      >>> mode_factors(np.eye(3), np.eye(3)[:, :1]).round(6).tolist()
      [1.0, 1.0, 2.0]
    """
    xp = gram.__array_namespace__()
    projector = left @ left.mT
    root = xp.eye(gram.shape[-1], dtype=gram.dtype) + (2**0.5 - 1) * projector  # (I + P)^{1/2}
    return xp.linalg.eigvalsh(root @ gram @ root)


@jax.jit
def proved_rate(step_size: jax.Array, deviation: jax.Array) -> jax.Array:
    """f = max(1-eta, |1-2 eta|) + 2 eta dev + eta^2 (1+dev)^2 dev/(1-dev).

    ||(Z_t - Delta) V Sigma^{-1}||_F <= f^t ||(S - I) U||_F from the spectral start, r = r*, where f
    <= 1. Proof: E = (Z - Delta) V Sigma^{-1} obeys E+ = (I - eta (I + P_A) S) E + eta^2 S E Y^+ S
    E, Y = U + E, with no singular value of Delta in it; ||I - eta (I + P_A)||_2 is the first term,
    ||I + P_A||_2 <= 2, ||Y^+||_2 <= 1/(1 - ||E||_2), and ||E||_2 <= dev from the start on.

    Args:
      step_size: eta in (0, 1). deviation: dev < 1.

    Returns:
      (...); the envelope 1 - eta/2 holds where f <= 1 - eta/2.

    Source: proved above; conditions for arXiv 2502.01235, theorem 3.6.

    Example:
      >>> proved_rate(0.5, 0.0).item()
      0.5
    """
    cubic = step_size**2 * (1 + deviation) ** 2 * deviation / (1 - deviation)
    return population_rate(step_size) + 2 * step_size * deviation + cubic
