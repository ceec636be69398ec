"""How the factors of low-rank adaptation align with the singular spaces of the first gradient.

Legend: as in `linear_teacher`; U (d, r*), V (k, r*) the leading singular vectors of G, s_i its
singular values, kappa their ratio s_1/s_{r*}; q = sqrt(eta_1 eta_2) the geometric mean of the two
step sizes. The angle of A with G is ||(I - U U^T) U_{r*}(A)||_2, the sine of the largest principal
angle, U_{r*}(A) the leading left singular vectors of A.

Functions of matrices take JAX or numpy arrays, and stay in numpy for the latter.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.adaptation.linear_teacher import Array


def row_leakage(right: Array, b: Array) -> Array:
    """||B (I - V V^T)||_F / ||B||_F, what of B lies outside the row space of G.

    It is well defined when B has a lower rank than G, unlike angles of its singular vectors.

    Args:
      right: V (..., k, r*), orthonormal columns.
      b: B (..., r, k), not zero.

    Returns:
      (...), from 0 to 1.

    Source: arXiv 2502.01235, theorem 3.1, says that it is 0 after every step from B = 0.

    Example:
      >>> row_leakage(jnp.array([[1.0], [0.0]]), jnp.array([[3.0, 4.0]])).item()
      0.800000011920929
    """
    norm = b.__array_namespace__().linalg.norm
    outside = b - (b @ right) @ right.mT
    return norm(outside, axis=(-2, -1)) / norm(b, axis=(-2, -1))


def angle(left: Array, basis: Array) -> Array:
    """||(I - U U^T) Q||_2 for orthonormal bases of two spaces of the same dimension.

    Args:
      left: U (..., d, r*). basis: Q (..., d, r*).

    Returns:
      (...), from 0 to 1, symmetric in the two spaces; small ones are as accurate as large ones.

    Source: the angle of Figure 1 in the talk on arXiv 2502.01235.

    Example:
      >>> turned = jnp.array([[0.8], [0.6]])
      >>> round(angle(jnp.array([[1.0], [0.0]]), turned).item(), 6)
      0.6
    """
    norm = basis.__array_namespace__().linalg.norm
    return norm(basis - left @ (left.mT @ basis), 2, axis=(-2, -1))


def mean_squared_tangent(rank: int, d: int, samples: int) -> float:
    """E ||tan Theta(U(G), U(Delta))||_F^2 = r* (d - r*)/(N - r* - 1) for Gaussian inputs.

    Proof: with Q = X U(Delta) and W = X U_perp(Delta), independent, the tangents are the singular
    values of W^T Q (Q^T Q)^{-1}; E ||.||_F^2 = (d - r*) E tr (Q^T Q)^{-1}, an inverse Wishart.

    Args:
      rank: r*. d: dimension of the inputs. samples: N > r* + 1.

    Returns:
      A number; its square root is the floor "about sqrt(d/N)" to which the angle of A returns.

    Raises:
      ValueError: if N <= r* + 1, where the mean is infinite.

    Source: proved above; the talk on arXiv 2502.01235 has no floor.

    Example:
      >>> mean_squared_tangent(4, 100, 1605)
      0.24
    """
    if samples <= rank + 1:
        raise ValueError(f"samples is {samples}; allowed are integers > rank + 1 = {rank + 1}")
    return rank * (d - rank) / (samples - rank - 1)


@jax.jit
def growth_ratio(values: jax.Array, mean_step: jax.Array) -> jax.Array:
    """kappa = ln(1 + q s_1)/ln(1 + q s_{r*}), the ratio of growth rates; s_1/s_{r*} for small q.

    Args:
      values: s_1 >= ... >= s_{r*} > 0, (..., r*).
      mean_step: q, broadcasting against (...).

    Returns:
      (...), at least 1.

    Source: the eigenvalues 1 + q s_i of `linearised.linearised_factors`.

    Example:
      >>> round(growth_ratio(jnp.array([3.0, 1.0]), 1.0).item(), 6)
      2.0
    """
    return jnp.log1p(mean_step * values[..., 0]) / jnp.log1p(mean_step * values[..., -1])


@jax.jit
def best_angle_exponent(ratio: jax.Array) -> jax.Array:
    """min_t angle ~ alpha^{2/(2 kappa + 1)} for a start A_0 of size alpha, B_0 = 0.

    With c_t = (1 + q s_{r*})^t the angle is about 1/c_t from the linear phase plus (alpha
    c_t^kappa)^2 from the cubic term, whose component off U is not zero at finite N: a function of
    c_t alpha^{2/(2 kappa + 1)} times alpha^{2/(2 kappa + 1)}.

    Args:
      ratio: kappa (...), see `growth_ratio`.

    Returns:
      (...), below 2/3. Minus the same number is d(ln c_t)/d(ln alpha) at the best t.

    Source: derived above. The talk on arXiv 2502.01235 asks for alpha = O(eps), exponent 1.

    Example:
      >>> best_angle_exponent(jnp.array(2.0)).item()
      0.4000000059604645
    """
    return 2 / (2 * ratio + 1)


@jax.jit
def equal_step_start(
    a: jax.Array, rate_a: jax.Array, rate_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Start and step with which equal steps make the same products A_t B_t from B_0 = 0.

    Descent with (eta_1, eta_2) in (A, B) is descent with q in (c A, B/c), c = (eta_2/eta_1)^{1/4}:
    an imbalance of the steps is a larger start and the geometric mean.

    Args:
      a: A_0 (..., d, r).
      rate_a: eta_1 (...).
      rate_b: eta_2 (...).

    Returns:
      c A_0 (..., d, r), and q (...).

    Source: substitution in the update; LoRA+, arXiv 2402.12354, has eta_2/eta_1 = 16.

    Example:
      >>> start, step = equal_step_start(jnp.ones((1, 1)), jnp.array(0.25), jnp.array(4.0))
      >>> start.item(), step.item()
      (2.0, 1.0)
    """
    scale = jnp.asarray((rate_b / rate_a) ** 0.25)
    return scale[..., None, None] * a, jnp.sqrt(rate_a * rate_b)
