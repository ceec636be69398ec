"""What a start that is subtracted from the weight costs: LoRA-GA's plateau, the saddle of a sign.

Legend: as in `linear_teacher`; W_base = W - s A_0 B_0, so that s A B is to become T = Delta +
s A_0 B_0, which need not have rank r or be reachable; s_i(.) singular values.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.adaptation.linear_teacher import Array


def best_product(gram: Array, target: Array, rank: int) -> Array:
    """W* = S^{-1/2} [S^{1/2} T]_(r), the matrix of rank r with the least training loss for T.

    Args:
      gram: S (..., d, d), positive definite. target: T (..., d, k). rank: r.

    Returns:
      (..., d, k). The loss is half the squared tail of S^{1/2} T, the risk ||W* - T||_F^2/2.

    Source: Eckart-Young in the norm of the inputs.

    Example:
      >>> import numpy as np
      >>> best_product(np.eye(2), np.diag([2.0, 1.0]), 1).round(6).tolist()
      [[2.0, 0.0], [0.0, 0.0]]
    """
    xp = gram.__array_namespace__()
    values, vectors = xp.linalg.eigh(gram)
    scaled = xp.sqrt(values)[..., None, :]
    left, tail, right = xp.linalg.svd((vectors * scaled) @ vectors.mT @ target, full_matrices=False)
    cut = (left[..., :rank] * tail[..., None, :rank]) @ right[..., :rank, :]
    return (vectors / scaled) @ vectors.mT @ cut


def training_floor(gram: Array, target: Array, rank: int) -> Array:
    """1/2 sum_{i > r} s_i(S^{1/2} T)^2, below which no factors of rank r bring the training loss.

    Args:
      gram: S (..., d, d). target: T (..., d, k). rank: r.

    Returns:
      (...).

    Source: Eckart-Young; for LoRA-GA T has rank up to 2 r.

    Example:
      >>> import numpy as np
      >>> float(training_floor(np.eye(2), np.diag([2.0, 1.0]), 1))
      0.5
    """
    xp = gram.__array_namespace__()
    values, vectors = xp.linalg.eigh(gram)
    scaled = xp.sqrt(values)[..., None, :]
    tail = xp.linalg.svd((vectors * scaled) @ vectors.mT @ target, compute_uv=False)
    return (tail[..., rank:] ** 2).sum(axis=-1) / 2


@jax.jit
def saddle_risk(values: jax.Array, gamma: jax.Array, scale: jax.Array = 1.0) -> jax.Array:
    """1/2 sum_i max(s_i - s gamma, 0)^2, where algorithm 1 with the SVD of +gradient stops.

    There A_0 B_0 = -gamma U V^T in the frame of Delta and B = -A in that frame for ever, so that
    products cannot become positive; S = I.

    Args:
      values: singular values of Delta (..., r). gamma: (...). scale: s (...).

    Returns:
      (...).

    Source: derived above; arXiv 2502.01235, algorithm 1 in the talk. Its code takes -gradient.

    Example:
      >>> saddle_risk(jnp.array([3.0, 0.5]), 1.0).item()
      2.0
    """
    return jnp.sum(jnp.maximum(values - (gamma * scale)[..., None], 0) ** 2, axis=-1) / 2
