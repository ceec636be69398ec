"""Dropout in linear networks as a penalty: the squared nuclear norm, divided by the width.

Legend: X (n, k) the inputs, Y (m, k) the targets, W_1 (d, n) and W_2 (m, d) the layers, W_3 where
there are three; each hidden unit is kept with probability mu and divided by mu; P_X (k, k) the
projection on the row space of X; ||.||_* the nuclear norm; Z = W_2 W_1 X. Batch axes may be in
front of all arrays.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


@jax.jit
def dropout_penalty(left: jax.Array, right: jax.Array) -> jax.Array:
    """sum_i ||left_{:,i}||^2 ||right_{i,:}||^2 over the hidden units i.

    Args:
      left: W_2 (..., m, d). right: W_1 X (..., d, k).

    Source: arXiv 2503.19859, (32).

    Example:
      >>> dropout_penalty(jnp.eye(2), 2 * jnp.eye(2)).item()
      8.0
    """
    return jnp.sum(jnp.sum(left**2, axis=-2) * jnp.sum(right**2, axis=-1), axis=-1)


@jax.jit
def expected_loss(
    first: jax.Array, second: jax.Array, inputs: jax.Array, targets: jax.Array, keep: jax.Array
) -> jax.Array:
    """E ||Y - W_2 diag(z/mu) W_1 X||^2 = ||Y - W_2 W_1 X||^2 + (1-mu)/mu `dropout_penalty`.

    Args:
      first: W_1 (..., d, n). second: W_2 (..., m, d).
      inputs: X (..., n, k). targets: Y (..., m, k).
      keep: mu in (0, 1], shape of the batch.

    Source: arXiv 2503.19859, (32).

    Example:
      >>> one = jnp.ones((1, 1))
      >>> expected_loss(one, one, one, 2 * one, 0.5).item()
      2.0
    """
    hidden = first @ inputs
    loss = jnp.sum((targets - second @ hidden) ** 2, axis=(-1, -2))
    return loss + (1 - keep) / keep * dropout_penalty(second, hidden)


@jax.jit
def expected_loss_two(
    layers: tuple[jax.Array, jax.Array, jax.Array],
    inputs: jax.Array,
    targets: jax.Array,
    keep: jax.Array,
) -> jax.Array:
    """E ||Y - W_3 diag(z'/mu) W_2 diag(z/mu) W_1 X||^2, dropout after both hidden layers.

    ||Y - Z||^2 + q pen(W_3, W_2 H) + q pen(W_3 W_2, H) + q^2 sum_ij |W_3 e_i|^2 W_2,ij^2 |H_j|^2,
    with q = (1-mu)/mu, H = W_1 X, pen the `dropout_penalty`.

    Source: arXiv 2503.19859, appendix A (the network); computed here.

    Example:
      >>> one = jnp.ones((1, 1))
      >>> expected_loss_two((one, one, one), one, one, 0.5).item()
      3.0
    """
    first, second, third = layers
    hidden = first @ inputs
    ratio = (1 - keep) / keep
    loss = jnp.sum((targets - third @ second @ hidden) ** 2, axis=(-1, -2))
    single = dropout_penalty(third, second @ hidden) + dropout_penalty(third @ second, hidden)
    heads = jnp.sum(third**2, axis=-2)[..., :, None] * second**2
    double = jnp.sum(heads * jnp.sum(hidden**2, axis=-1)[..., None, :], axis=(-1, -2))
    return loss + ratio * single + ratio**2 * double


@jax.jit
def nuclear_weight(keep: jax.Array, width: jax.Array, dropouts: jax.Array = 1) -> jax.Array:
    """nu = (1 + (1-mu)/(mu d))^c - 1, with which c dropout layers penalise ||Z||_*^2.

    For c = 1 the least penalty over factors of Z of width d >= rank(Z) is exactly nu ||Z||_*^2; for
    c = 2 at least that, with equality for rank one.

    Proof: ||Z||_* <= sum_i |left_i| |right_i| over the d units, whose sum of squares is at least a
    d-th of the squared sum. For c = 2 the same holds over the units of either layer, and over the
    d^2 paths through both for the term in ((1-mu)/mu)^2.

    Source: arXiv 2503.19859, (33), which prints (1-mu)/mu, without the width; c = 2 is new.

    Example:
      >>> nuclear_weight(0.5, 4).item(), nuclear_weight(0.5, 4, 2).item()
      (0.25, 0.5625)
    """
    return (1 + (1 - keep) / (keep * width)) ** dropouts - 1


@jax.jit
def keep_rate(keep: jax.Array, width: jax.Array) -> jax.Array:
    """mu(d) = p/(d - (d-1) p), with which the weight is (1-p)/p at every width.

    Source: arXiv 2503.19859, (33), the condition it needs.

    Example:
      >>> round(keep_rate(0.5, 3).item(), 3), round(nuclear_weight(0.25, 3).item(), 3)
      (0.25, 1.0)
    """
    return keep / (width - (width - 1) * keep)


@jax.jit
def squared_nuclear_values(values: jax.Array, weight: jax.Array, rank: jax.Array) -> jax.Array:
    """Singular values of argmin ||Y - Z||^2 + nu ||Z||_*^2 over rank(Z) <= `rank`.

    (s_i - tau)_+ for i <= rank, tau = nu sum_{i<=rho} s_i / (1 + rho nu), rho <= rank the largest
    index with s_rho > tau; then tau = nu ||Z||_*.

    Args:
      values: s of Y (..., K), descending.
      weight: nu (...). rank: (...), the width of the factors or K.

    Returns:
      (..., K).

    Source: derived; arXiv 2503.19859 names the problem, (33).

    Example:
      >>> squared_nuclear_values(jnp.array([4.0, 2.0, 1.0]), 0.5, 3).round(3).tolist()
      [2.5, 0.5, 0.0]
    """
    count = jnp.arange(1, values.shape[-1] + 1)
    weight = jnp.asarray(weight)[..., None]
    tau = weight * jnp.cumsum(values, axis=-1) / (1 + count * weight)
    allowed = count <= jnp.asarray(rank)[..., None]
    # s_rho > tau_rho holds up to an index and not after, and tau_rho rises up to there.
    used = (values > tau) & allowed
    threshold = jnp.max(jnp.where(used, tau, 0), axis=-1, keepdims=True)
    return jnp.where(allowed, jnp.maximum(values - threshold, 0), 0)


@jax.jit
def squared_nuclear_objective(shrunk: jax.Array, values: jax.Array, weight: jax.Array):
    """sum_i (s_i - z_i)^2 + nu (sum_i z_i)^2, the objective at the singular values z (..., K).

    Source: arXiv 2503.19859, (33).

    Example:
      >>> squared_nuclear_objective(jnp.array([1.0]), jnp.array([3.0]), 2.0).item()
      6.0
    """
    return jnp.sum((values - shrunk) ** 2, axis=-1) + weight * jnp.sum(shrunk, axis=-1) ** 2


def equal_factors(matrix: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors (m, d), (d, k) of Z whose units all have ||left_i|| ||right_i|| = ||Z||_*/d.

    They attain `nuclear_weight`: Z = U S V^T, left = U S^{1/2} Q^T, right = Q S^{1/2} V^T, with Q
    from d - 1 plane rotations, each of which gives one more unit the mean of the diagonal of
    Q S Q^T.

    Args:
      matrix: Z (m, k), one matrix.
      width: d >= rank of Z.

    Raises:
      ValueError: if the width is below the rank.

    Source: Bendel and Mickey's rotations; arXiv 2503.19859 uses that such factors exist.

    Example:
      >>> left, right = equal_factors(np.diag([3.0, 1.0]), 4)
      >>> (np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=1)).round(6).tolist()
      [1.0, 1.0, 1.0, 1.0]
    """
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    count = int(np.sum(values > 1e-12 * values[0])) if values[0] > 0 else 0
    if width < count:
        raise ValueError(f"width is {width}; allowed are integers >= {count}, the rank of matrix")
    diagonal = np.zeros((width, width))
    diagonal[:count, :count] = np.diag(values[:count])
    mixing = np.eye(width)
    mean = np.trace(diagonal) / width
    for unit in range(width - 1):
        entries = np.diag(diagonal)
        # Among the units left, one below the mean and one above it meet at the mean.
        low = unit + int(np.argmin(entries[unit:]))
        high = unit + int(np.argmax(entries[unit:]))
        if entries[high] - entries[low] <= 1e-15 * mean:
            break
        rotation = _meeting(diagonal, low, high, mean)
        order = np.arange(width)
        order[[unit, low]] = order[[low, unit]]
        step = np.eye(width)
        step[np.ix_([low, high], [low, high])] = rotation
        step = step[order]
        diagonal, mixing = step @ diagonal @ step.T, step @ mixing
    root = np.sqrt(values[:count])
    mixing = mixing[:, :count] * root
    return left[:, :count] @ mixing.T, mixing @ right[:count]


def _meeting(matrix: np.ndarray, low: int, high: int, mean: float) -> np.ndarray:
    """The plane rotation after which entry (low, low) is `mean`, between the two entries."""
    a, b, c = matrix[low, low], matrix[low, high], matrix[high, high]
    # c_2 a + 2 c s b + s_2 c = mean in t = s/c: (c - mean) t^2 + 2 b t + (a - mean) = 0.
    root = b + np.copysign(np.sqrt(max(b * b - (c - mean) * (a - mean), 0.0)), b)
    tangent = -(a - mean) / root if root else 0.0
    cosine = 1 / np.hypot(1, tangent)
    return cosine * np.array([[1, tangent], [-tangent, 1]])
