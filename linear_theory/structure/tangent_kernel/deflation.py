"""Deflation by the linearised adapter model: what becomes of cascades and of self-correction.

Legend: component k adds b_k a_k^T to a weight W (m, n), from b_k = 0; linearised there, the
predictions are f_0 + sum_k M_k b_k, with M_k (D, m) the Jacobian of all D predictions in b_k (to
first order a_k does not matter, as b_k = 0). Worker k fits the targets Y - f_0 =: y (D,) minus what
its predecessors predict. b_k^* is what it finds after exact predecessors.

Each worker has a linear least-squares problem: no spectral gap enters, and both statements are
exact. Batch axes come first.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def component_maps(
    weight: jax.Array, outer: jax.Array, rows: jax.Array, inputs: jax.Array
) -> jax.Array:
    """M_k of the network V tanh((W + sum_k b_k a_k^T) X) at b = 0.

    Args:
      weight: W (m, n). outer: V (o, m). rows: a_k (r, n). inputs: X (n, N).

    Returns:
      (r, o N, m).

    Source: derived; the tangent kernel of one component is M_k M_k^T.

    Example:
      >>> maps = component_maps(jnp.zeros((1, 2)), jnp.ones((1, 1)), jnp.eye(2), jnp.eye(2))
      >>> maps[..., 0].tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """

    def predictions(b):
        return (outer @ jnp.tanh((weight + b.T @ rows) @ inputs)).ravel()

    slopes = jax.jacfwd(predictions)(jnp.zeros((rows.shape[0], weight.shape[0]), weight.dtype))
    return jnp.moveaxis(slopes, 1, 0)


def in_turn(maps: np.ndarray, target: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """b_k = argmin ||y - sum_{j<k} M_j b_j - M_k b_k||, one after the other.

    Args:
      maps: M (..., r, D, m), full column rank. target: y (..., D).
      first: b_1 (..., m) held at this value; None fits it too.

    Returns:
      b (..., r, m).

    Example:
      >>> in_turn(np.eye(2)[None], np.array([3.0, 4.0])).tolist()
      [[3.0, 4.0]]
    """
    left, components = target, []
    for k in range(maps.shape[-3]):
        b = first if k == 0 and first is not None else _solve(maps[..., k, :, :], left)
        left = left - _times(maps[..., k, :, :], b)
        components.append(b)
    return np.stack(components, axis=-2)


def cascade(maps: np.ndarray, error: np.ndarray, back: int | None = None) -> np.ndarray:
    """delta_k = -M_k^+ sum_{j<k} M_j delta_j, delta_1 = e: what an error of b_1 does to the others.

    Args:
      maps: M (..., r, D, m). error: e (..., m).
      back: how many predecessors are counted; None for all.

    Returns:
      delta (..., r, m).

    Source: derived: the solution of a least-squares problem is linear in its right-hand side.

    Example:
      >>> cascade(np.stack([np.eye(2)] * 2), np.array([1.0, 0.0])).tolist()
      [[1.0, 0.0], [-1.0, -0.0]]
    """
    components = [error]
    for k in range(1, maps.shape[-3]):
        least = 0 if back is None else max(k - back, 0)
        moved = sum(_times(maps[..., j, :, :], components[j]) for j in range(least, k))
        components.append(-_solve(maps[..., k, :, :], moved))
    return np.stack(components, axis=-2)


def descend_together(
    maps: np.ndarray,
    target: np.ndarray,
    step_sizes: np.ndarray,
    rounds: int,
    stop: int | None = None,
) -> np.ndarray:
    """All workers at once from b = 0: b_k <- b_k + eta_k M_k^T (y - sum_{j<=k} M_j b_j).

    Args:
      maps: M (..., r, D, m). target: y (..., D). step_sizes: eta (..., r). rounds: T.
      stop: round after which the first worker is frozen.

    Returns:
      b (T + 1, ..., r, m).

    Example:
      >>> descend_together(np.eye(2)[None], np.ones(2), np.array([0.5]), 1)[1].tolist()
      [[0.5, 0.5]]
    """
    b = np.zeros((*target.shape[:-1], maps.shape[-3], maps.shape[-1]))
    path = [b]
    for number in range(rounds):
        left = target[..., None, :] - np.cumsum(_times(maps, b), axis=-2)
        rate = step_sizes[..., None] * np.ones_like(b)
        if stop is not None and number >= stop:
            rate[..., 0, :] = 0
        b = b + rate * _times(np.swapaxes(maps, -1, -2), left)
        path.append(b)
    return np.stack(path)


def correction_bound(
    maps: np.ndarray, final: np.ndarray, step_sizes: np.ndarray, rounds: int
) -> np.ndarray:
    """u_{k,l} >= ||b_{k,l} - b_k^*||: u_{k,0} = ||b_k^*|| and

        u_{k,l+1} = ||I - eta_k M_k^T M_k||_2 u_{k,l} + eta_k sum_{j<k} ||M_k^T M_j||_2 u_{j,l}

    Args:
      maps, step_sizes, rounds: as in `descend_together`. final: b^* (..., r, m).

    Returns:
      u (T + 1, ..., r). It decays at the largest of the rates up to k, times a power of l.

    Source: derived from b_{k,l+1} - b_k^* = (I - eta_k M_k^T M_k)(b_{k,l} - b_k^*)
    - eta_k M_k^T sum_{j<k} M_j (b_{j,l} - b_j^*).

    Example:
      >>> correction_bound(np.eye(2)[None], np.ones((1, 2)), np.array([0.5]), 1).round(3).tolist()
      [[1.414], [0.707]]
    """
    count, dim = maps.shape[-3], maps.shape[-1]
    products = np.einsum("...kdm,...jdn->...kjmn", maps, maps) * step_sizes[..., None, None, None]
    own = np.arange(count)
    factors = np.linalg.norm(products, 2, axis=(-2, -1))
    contraction = np.eye(dim) - products[..., own, own, :, :]
    factors[..., own, own] = np.linalg.norm(contraction, 2, axis=(-2, -1))
    factors = np.tril(factors)
    bound = [np.linalg.norm(final, axis=-1)]
    for _ in range(rounds):
        bound.append((factors @ bound[-1][..., None])[..., 0])
    return np.stack(bound)


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (matrix @ vector[..., None])[..., 0]


def _solve(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    q, r = np.linalg.qr(matrix)
    return np.linalg.solve(r, np.swapaxes(q, -1, -2) @ vector[..., None])[..., 0]
