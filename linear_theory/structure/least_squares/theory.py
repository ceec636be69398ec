"""Linear models by alternating least squares and by gradient descent.

Legend: Phi (m, n) a matrix of rank above r, singular values s, s_i = 0 beyond them; B (m, r),
A (r, n) factors; inputs X (d, n), targets Y (m, n), Phi = Y X^T (X X^T)^-1; for one output, rows
X (n, d) are samples, y (n,), w (d,), n <= d. Batch axes may be in front. Factorisations are
numpy's.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np


def alternate(target: np.ndarray, start: np.ndarray, sweeps: int) -> tuple[np.ndarray, np.ndarray]:
    """Alternating least squares on ||Phi - B A||^2: B from A and A from B, `sweeps` times; then B.

    Args:
      target: Phi (..., m, n). start: A (..., r, n), of full row rank. sweeps: T >= 0.

    Returns:
      B (..., m, r) and A (..., r, n).

    Source: arXiv 2503.19859, section 2.1.

    Example:
      >>> b, a = alternate(np.diag([2.0, 1.0]), np.array([[1.0, 1.0]]), 20)
      >>> (b @ a).round(6).tolist()
      [[2.0, 0.0], [0.0, 0.0]]
    """
    a = start
    for _ in range(sweeps):
        # Only the row space matters: an orthonormal basis keeps the solves well conditioned.
        b = target @ _row_basis(a).mT
        a = np.linalg.pinv(b) @ target
    a = _row_basis(a)
    return target @ a.mT, a


def _row_basis(matrix: np.ndarray) -> np.ndarray:
    return np.linalg.qr(matrix.mT)[0].mT


def tangent(target: np.ndarray, start: np.ndarray) -> np.ndarray:
    """tan of the largest angle between the row space of A and the top r right singular vectors.

    Takes (..., m, n) and (..., r, n), returns (...); inf where some top direction is missed.

    Source: Golub and Van Loan, section 8.2.4.

    Example:
      >>> round(float(tangent(np.diag([2.0, 1.0]), np.array([[1.0, 2.0]]))), 6)
      2.0
    """
    rank = start.shape[-2]
    right = np.linalg.svd(target)[2]
    top, rest = right[..., :rank, :], right[..., rank:, :]
    leading = start @ top.mT
    return np.linalg.norm((start @ rest.mT).mT @ np.linalg.inv(leading).mT, 2, axis=(-2, -1))


@functools.partial(jax.jit, static_argnames="rank")
def alternating_excess(
    values: jax.Array, rank: int, tangent: jax.Array, sweeps: jax.Array
) -> jax.Array:
    """||Phi - B A||^2 - sum_{i>r} s_i^2 <= sum_{i<=r} s_i^2 x/(1+x), x = (s_{r+1}/s_r)^{4T} tan^2.

    Proof: the row space after T sweeps is that of A (Phi^T Phi)^T, whose tangent is at most
    (s_{r+1}/s_r)^{2T} tan. With P its projection, the excess is sum_{i<=r} s_i^2 ||(I-P) v_i||^2
    - sum_{i>r} s_i^2 ||P v_i||^2, and ||(I-P) v_i||^2 <= sin^2.

    Args:
      values: s (..., K), descending. rank: r <= K. tangent: at the start (...). sweeps: T.

    Source: proved above; arXiv 2503.19859, theorem 1 (Eckart-Young) says what is approached.

    Example:
      >>> round(alternating_excess(jnp.array([2.0, 1.0]), 1, 1.0, 1).item(), 4)
      0.2353
    """
    after = values[..., rank] if values.shape[-1] > rank else jnp.zeros_like(values[..., 0])
    ratio = (after / values[..., rank - 1]) ** (4 * sweeps) * tangent**2
    return jnp.sum(values[..., :rank] ** 2, axis=-1) * ratio / (1 + ratio)


@jax.jit
def whitened_loss(weights: jax.Array, target: jax.Array, gram: jax.Array) -> jax.Array:
    """tr (W - Phi) S (W - Phi)^T = ||(W - Phi) S^{1/2}||^2, S = X X^T.

    ||W X - Y||^2 is this plus ||Phi X - Y||^2. It is ||W - Phi||^2 up to a constant factor for
    S = c I only, so that the best W of rank r comes from the singular values of Phi S^{1/2}.

    Source: arXiv 2503.19859, (5) and (6).

    Example:
      >>> whitened_loss(jnp.ones((1, 2)), jnp.zeros((1, 2)), jnp.diag(jnp.array([1.0, 4.0]))).item()
      5.0
    """
    error = weights - target
    return jnp.sum((error @ gram) * error, axis=(-1, -2))


def best_of_rank(
    inputs: np.ndarray, targets: np.ndarray, rank: int, whiten: bool = True
) -> np.ndarray:
    """The W of rank r that minimises ||W X - Y||^2, X X^T regular.

    W = [Phi S^{1/2}]_r S^{-1/2}; without whitening [Phi]_r, the minimiser of (6), which is right
    for S = c I only.

    Args:
      inputs: X (..., d, n). targets: Y (..., m, n). rank: r.

    Source: arXiv 2503.19859, (5) and (6).

    Example:
      >>> best_of_rank(np.diag([1.0, 4.0]), np.diag([2.0, 4.0]), 1).round(6).tolist()
      [[0.0, 0.0], [0.0, 1.0]]
    """
    left, scale, right = np.linalg.svd(inputs, full_matrices=False)
    # X = U D V^T: in the basis of V the loss is ||W U D - Y V||^2.
    leading = targets @ right.mT
    if not whiten:
        leading = leading / scale[..., None, :]
    u, values, v = np.linalg.svd(leading, full_matrices=False)
    cut = (u[..., :rank] * values[..., None, :rank]) @ v[..., :rank, :]
    return (cut / scale[..., None, :] if whiten else cut) @ left.mT


@functools.partial(jax.jit, static_argnames="steps")
def descend_linear(
    start: jax.Array, inputs: jax.Array, targets: jax.Array, step_size: jax.Array, steps: int
) -> jax.Array:
    """w <- w - eta X^T (X w - y), `steps` times.

    Args:
      start: w_0 (..., d). inputs: X (..., n, d). targets: y (..., n). step_size: eta (...).

    Source: arXiv 2503.19859, (8), with the minus signs that (9) and (10) drop.

    Example:
      >>> descend_linear(jnp.ones(2), jnp.array([[1.0, 0.0]]), jnp.zeros(1), 0.5, 1).tolist()
      [0.5, 1.0]
    """

    def step(_, weights):
        residual = jnp.einsum("...nd,...d->...n", inputs, weights) - targets
        return weights - step_size[..., None] * jnp.einsum("...nd,...n->...d", inputs, residual)

    step_size = jnp.asarray(step_size)
    return jax.lax.fori_loop(0, steps, step, start)


def descent_limit(start: np.ndarray, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """w* = w_0 + X^T (X X^T)^-1 (y - X w_0), the solution nearest to the start.

    It has the least norm if and only if w_0 is in the row space of X.

    Source: arXiv 2503.19859, (10), which drops w_0 and a transpose.

    Example:
      >>> descent_limit(np.ones(2), np.array([[2.0, 0.0]]), np.array([6.0])).tolist()
      [3.0, 1.0]
    """
    residual = targets - np.einsum("...nd,...d->...n", inputs, start)
    return start + np.einsum("...dn,...n->...d", np.linalg.pinv(inputs), residual)
