"""How fast plain gradient descent on two factors converges, and why it feels the conditioning.

Legend: as in `linear_teacher`; (A, B) a minimum, A B = Delta, and balanced: A^T A = B B^T, so that
A = U Sigma^{1/2} up to a rotation; u the left singular vector of s_{r*}.
"""

from __future__ import annotations

from linear_theory.adaptation.linear_teacher import Array


def decay_rates(gram: Array, a: Array, b: Array) -> Array:
    """All mu with an error R = A B - Delta that descent multiplies by 1 - eta mu, near a minimum.

    R+ = R - eta (S R B^T B + A A^T S R). In the basis of B^T B, with beta its eigenvalues, this is
    beta S + S^{1/2} A A^T S^{1/2} up to similarity for each beta > 0, and A^T S A for the rest.

    Args:
      gram: S (..., d, d), positive definite; JAX or numpy.
      a: (..., d, r), of full rank.
      b: (..., r, k), of full rank; the rates hold for k > r.

    Returns:
      (..., r d + r), ascending, all positive; the gauge directions have no error and are left out.

    Source: derived above; arXiv 2502.01235, theorem 3.5, has the smallest up to a constant.

    Example:
      >>> import numpy as np
      >>> decay_rates(np.eye(2), 2 * np.eye(2)[:, :1], np.full((1, 1), 2.0)).round(6).tolist()
      [4.0, 4.0, 8.0]
    """
    xp = gram.__array_namespace__()
    values, vectors = xp.linalg.eigh(gram)
    root = (vectors * xp.sqrt(values)[..., None, :]) @ vectors.mT
    shared = (root @ a) @ (root @ a).mT
    betas = xp.linalg.eigvalsh(b @ b.mT)
    paired = xp.linalg.eigvalsh(
        betas[..., None, None] * gram[..., None, :, :] + shared[..., None, :, :]
    )
    single = xp.linalg.eigvalsh(a.mT @ gram @ a)
    paired = paired.reshape(*paired.shape[:-2], -1)
    return xp.sort(xp.concatenate([paired, single], axis=-1), axis=-1)


def slowest_rate_bounds(gram: Array, left: Array, values: Array) -> tuple[Array, Array]:
    """l_min(S) s_{r*} <= mu_min <= s_{r*} u^T S u at a balanced minimum.

    Proof: beta S + (psd) >= s_{r*} l_min(S), and so is Sigma^{1/2} U^T S U Sigma^{1/2}; its last
    diagonal entry is the upper bound.

    Args:
      gram: S (..., d, d).
      left: U (..., d, r*), values: (..., r*), of Delta.

    Returns:
      lower and upper bound, (...).

    Source: proved above; the rate 1 - c eta s_{r*} of arXiv 2502.01235, theorem 3.5.

    Example:
      >>> import numpy as np
      >>> gram = np.diag([1.0, 0.5])
      >>> [float(b) for b in slowest_rate_bounds(gram, np.eye(2)[:, :1], np.array([3.0]))]
      [1.5, 3.0]
    """
    lowest = gram.__array_namespace__().linalg.eigvalsh(gram)[..., 0]
    last = left[..., -1:]
    return lowest * values[..., -1], values[..., -1] * (last.mT @ gram @ last)[..., 0, 0]
