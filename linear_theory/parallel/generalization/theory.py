"""What rank-r deflation learns of a map hidden in noise: truncation, noise and unfinished work.

Legend: Y = W X + Xi with W (m, d) of rank r, X (d, n) of full row rank, Xi independent N(0, std^2);
S = X X^T. M* = W S^{1/2} (m, d) with singular values s_1 >= ... >= s_r > 0, those of W X; the
noisy target is M = M* + Z, where Z (m, d) = Xi X^T S^{-1/2} has independent N(0, std^2) entries
whatever X and n are. M_(r) is the best approximation of rank r, W_r = M_(r) S^{-1/2}. Norms are
Frobenius norms.

Formulas take Python numbers or arrays for std, which broadcast, and spectra on the last axis, whose
dtype they keep.
Source: arXiv 2605.10741 (the decomposition in words); the constants are derived here.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from linear_theory.perturbation.theory import as_spectrum


@jax.jit
def decomposition(algorithmic: jax.Array, statistical: jax.Array, truncation: jax.Array):
    """||(W_l - W) X|| <= sum_k E_k + ||M_(r) - M*_(r)|| + (sum_{k>r} s_k^2)^{1/2}.

    Proof: sum_k R_{k,l} - M* = sum_k (R_{k,l} - R_k) + (M_(r) - M*_(r)) + (M*_(r) - M*), R_k the
    components of the noisy target M.

    Args:
      algorithmic: E_k = ||R_{k,l} - R_k|| of the components after round l, (..., r).
      statistical: ||M_(r) - M*_(r)|| (...).
      truncation: norm of the singular values that are left out (...).

    Returns:
      (...), in the unit of Y.

    Source: arXiv 2605.10741, generalisation.

    Example:
      >>> decomposition(jnp.array([1.0, 2.0]), 0.5, 0.25).item()
      3.75
    """
    return jnp.sum(algorithmic, axis=-1) + statistical + truncation


def degrees_of_freedom(rows: int, columns: int, rank: int) -> int:
    """r (m + d - r), the dimension of the manifold of (m, d) matrices of rank r.

    Raises:
      ValueError: for a rank outside 1..min(m, d).

    Example:
      >>> degrees_of_freedom(24, 30, 3)
      153
    """
    if not 1 <= rank <= min(rows, columns):
        raise ValueError(f"rank is {rank}; allowed are integers from 1 to {min(rows, columns)}")
    return rank * (rows + columns - rank)


def noise_floor(rows: int, columns: int, rank: int, std) -> jax.Array:
    """E ||(W_r - W) X||^2 = std^2 r (m + d - r) + O(std^4): no n, no X, no spectrum.

    Proof: to first order M_(r) - M* is the projection of Z on the tangent space of the rank-r
    matrices at M*, whose dimension is r (m + d - r).

    Raises:
      ValueError: for a rank outside 1..min(m, d).

    Source: arXiv 2605.10741, statistical term; derived above.

    Example:
      >>> noise_floor(24, 30, 3, 0.5).item()
      38.25
    """
    return jnp.asarray(std) ** 2 * degrees_of_freedom(rows, columns, rank)


@functools.partial(jax.jit, static_argnames=("rows", "columns"))
def noise_floor_second_order(rows: int, columns: int, singular_values: jax.Array, std):
    """std^2 r (m + d - r) + 3 std^4 (m - r)(d - r) sum_k s_k^{-2}, r the number of values given.

    The next term of the noise floor. For one spike in large dimensions the limit is exactly
    std^2 (m + d) + 3 std^4 m d / s^2; here m and d are reduced by r, which leaves the space that
    the noise has outside the tangent space.

    Args:
      rows, columns: m and d.
      singular_values: s_1, ..., s_r of W X, (..., r), > 0.
      std: broadcasts against (...).

    Returns:
      (...).

    Raises:
      ValueError: for more values than rows or columns.

    Source: expansion of the spiked-matrix limit (Benaych-Georges and Nadakuditi 2012); the
    reduction of m and d is a heuristic that simulations confirm.

    Example:
      >>> round(float(noise_floor_second_order(24, 30, jnp.array([3.0, 2.0, 1.2]), 0.1)), 4)
      1.7096
    """
    values = as_spectrum(singular_values)
    rank = values.shape[-1]
    first = noise_floor(rows, columns, rank, std)
    outside = (rows - rank) * (columns - rank)
    return first + 3 * jnp.asarray(std) ** 4 * outside * jnp.sum(values**-2, axis=-1)


@functools.partial(jax.jit, static_argnames=("rows", "columns"))
def component_noise_floor(rows: int, columns: int, singular_values: jax.Array, std) -> jax.Array:
    """E ||R_k - R*_k||^2 = std^2 (1 + |m - d| + sum_{i != k} 2 s_k^2 (s_k^2 + s_i^2) /
    (s_k^2 - s_i^2)^2) + O(std^4), i <= min(m, d), with s_i = 0 for i > r.

    Single components suffer from close neighbours, their sum does not.
    Proof: the derivative of the k-th component keeps the entry (k, k), keeps the |m - d| entries
    beyond the square, and maps the pair (h_ki, h_ik) by s_k/(s_k^2 - s_i^2) [[s_k, s_i], [s_i,
    s_k]], whose squared Frobenius norm is the summand.

    Args:
      rows, columns: m and d.
      singular_values: (..., r), distinct and > 0.
      std: broadcasts against (..., r).

    Returns:
      (..., r); +inf at a tie.

    Raises:
      ValueError: for more values than rows or columns.

    Source: derived above.

    Example:
      >>> component_noise_floor(2, 3, jnp.array([2.0]), 0.5).tolist()
      [1.0]
    """
    values = as_spectrum(singular_values)
    rank = values.shape[-1]
    degrees_of_freedom(rows, columns, rank)
    squares = values**2
    own, other = squares[..., :, None], squares[..., None, :]
    same = jnp.eye(rank, dtype=bool)
    distance = jnp.where(same, 1, own - other) ** 2
    pairs = jnp.where(same, 0, 2 * own * (own + other) / distance)
    empty = 2.0 * (min(rows, columns) - rank)
    return jnp.asarray(std) ** 2 * (1 + abs(rows - columns) + empty + jnp.sum(pairs, axis=-1))


def map_noise_floor(rows: int, columns: int, samples: int, rank: int, std) -> jax.Array:
    """E ||W_r - W||^2 = std^2 r (d/(n - d - 1) + (m - r)/(n - r - 1)) + O(std^4), X Gaussian.

    For a fixed map W and columns of X independent N(0, I). Proof: to first order M_(r) - M* is
    P Z + (I - P) Z V V^T, P and V V^T the projectors on the spaces of M*, so that the error given X
    is std^2 (r tr S^{-1} + (m - r) tr V^T S^{-1} V). E S^{-1} = I/(n - d - 1); and V spans
    S^{1/2} A, A (d, r) an orthonormal basis of the rows of W, so that tr V^T S^{-1} V is
    tr (A^T S A)^{-1} with mean r/(n - r - 1), A^T S A being a Wishart matrix of order r.

    The guess std^2 r (m + d - r)/(n - d - 1), which treats the rows of M* as independent of X,
    is too large.

    Args:
      rows, columns, samples: m, d and n > d + 1.
      rank: r.
      std: any shape.

    Raises:
      ValueError: for a rank outside 1..min(m, d), or n <= d + 1.

    Source: derived above.

    Example:
      >>> round(float(map_noise_floor(24, 30, 90, 3, 1.0)), 3)
      2.258
    """
    degrees_of_freedom(rows, columns, rank)
    if samples <= columns + 1:
        raise ValueError(
            f"samples is {samples}; allowed are integers > columns + 1 = {columns + 1}"
        )
    shares = columns / (samples - columns - 1) + (rows - rank) / (samples - rank - 1)
    return jnp.asarray(std) ** 2 * rank * shares
