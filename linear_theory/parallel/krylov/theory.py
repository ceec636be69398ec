"""One round of the Krylov solver: how near the leading direction it comes, and what restarts cost.

Legend: M_k (m, d) the target of a worker, s_1 >= s_2 >= ... >= s_d its own singular values (zeros
included: behind exact predecessors there are k - 1 of them) and v_i its right singular vectors;
q the depth, T_n Chebyshev's polynomial; a the unit direction before a round, a' the one after it,
the maximiser of |M_k a| in span{a, S a, ..., S^{q-1} a}, S = M_k^T M_k; t the angle of a and v_1;
deficit(a) = s_1^2 - |M_k a|^2. Arrays have their workers or instances on leading axes.

Every vector of the span is p(S) a with a polynomial p of degree q - 1. Scaled to p(s_1^2) = 1, the
smallest on [s_d^2, s_2^2] is Chebyshev's, at most 1/T_{q-1}(1 + 2 g) there. So the span contains a
direction whose tangent to v_1 is tan t / T_{q-1}(1 + 2 g). It is not a': that one has the smallest
deficit, which weighs the direction v_i by s_1^2 - s_i^2, and so its angle may be larger (here, for
q = 2, by 7% of the bound). What holds for a' is the same statement on deficits.

Near the end a round is one of restarted conjugate gradients on s_1^2 - S, in the direction off v_1.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.jit, static_argnames="depth")
def chebyshev_factor(values: jax.Array, depth: int) -> jax.Array:
    """1 / T_{q-1}(1 + 2 g), g = (s_1^2 - s_2^2) / (s_2^2 - s_d^2): by how much a round contracts.

    Args:
      values: the worker's own singular values (..., d), largest first, zeros included.
      depth: q.

    Returns:
      (...); 0 where s_2 = s_d and q > 1: two directions are all there is.

    Source: Kaniel (1966), Saad (1980).

    Example:
      >>> round(float(chebyshev_factor(jnp.array([1.0, 0.5**0.5, 0.0]), 2)), 4)
      0.3333
    """
    squares = jnp.asarray(values) ** 2
    gap, width = squares[..., 0] - squares[..., 1], squares[..., 1] - squares[..., -1]
    # arccosh(1 + 2 g) = 2 arcsinh(sqrt(g)), which loses no digits of a small g.
    g = jnp.where(width > 0, gap / jnp.where(width > 0, width, 1), jnp.inf)
    return (
        1 / jnp.cosh(2 * (depth - 1) * jnp.arcsinh(jnp.sqrt(g))) if depth > 1 else jnp.ones(g.shape)
    )


@functools.partial(jax.jit, static_argnames="depth")
def deficit_bound(deficit: jax.Array, cosine: jax.Array, values: jax.Array, depth: int):
    """deficit(a') <= deficit(a) / cos^2 t / T_{q-1}(1 + 2 g)^2.

    Proof: write a = cos t (v_1 + sum_{i>1} e_i v_i). For p(s_1^2) = 1 the deficit of p(S) a is
    sum_i (s_1^2 - s_i^2) p(s_i^2)^2 e_i^2 / (1 + sum_i p(s_i^2)^2 e_i^2), at most
    max_i p(s_i^2)^2 sum_i (s_1^2 - s_i^2) e_i^2, and that sum is deficit(a) / cos^2 t. Take
    Chebyshev's p; a' has the smallest deficit of all.
    As deficit(a) <= (s_1^2 - s_d^2) sin^2 t, it is at most Kaniel's and Saad's bound on Ritz
    values, (s_1^2 - s_d^2) tan^2 t / T^2.

    Args:
      deficit, cosine: of a (...), and values: as in `chebyshev_factor`.

    Source: proved above; Kaniel (1966), Saad (1980) for the weaker form.

    Example:
      >>> round(float(deficit_bound(0.1, 1.0, jnp.array([1.0, 0.5**0.5, 0.0]), 2)), 4)
      0.0111
    """
    return deficit / cosine**2 * chebyshev_factor(values, depth) ** 2


@functools.partial(jax.jit, static_argnames="depth")
def sine_bound(tangent: jax.Array, values: jax.Array, depth: int):
    """sin(a', v_1) <= sqrt((s_1^2 - s_d^2) / (s_1^2 - s_2^2)) tan t / T_{q-1}(1 + 2 g).

    By `deficit_bound`, as deficit(a') >= (s_1^2 - s_2^2) sin^2. The square root is what is lost by
    maximising |M_k a|, and is not there for the best direction of the span.

    Source: proved above; Saad (1980) has a form for every Ritz vector.

    Example:
      >>> round(float(sine_bound(0.3, jnp.array([1.0, 0.5**0.5, 0.0]), 2)), 4)
      0.1414
    """
    squares = jnp.asarray(values) ** 2
    spread = (squares[..., 0] - squares[..., -1]) / (squares[..., 0] - squares[..., 1])
    return jnp.sqrt(spread) * tangent * chebyshev_factor(values, depth)


@jax.jit
def late_energy(modes: jax.Array, seen: jax.Array, singular_values: jax.Array) -> jax.Array:
    """How far every worker is from its current fixed point, in the norm that a round contracts:

        e_k^2 = sum_{i>k} (s_k^2 - s_i^2) eps_{k,i}^2 + s_k^2 sum_{j<k} (eps_{k,j} + eps'_{j,k})^2,

    with modes eps of the worker and eps' of its predecessors as it sees them (notation and first
    order of `late_phase`; s_i here the values of the whole target M). One Krylov round, to first
    order: e_{k,l} <= e'_{k,l-1} / T_{q-1}(1 + 2 g_k), both with the eps' of round l - 1.

    Proof: to first order the top right vector of M_{k,l} is v_k - sum_{j<k} eps_{j,k,l-1} v_j
    (`late_phase.first_order_errors`), and its squared values are s_i^2, i >= k, and 0. The deficit
    of v_k plus small parts is s_k^2 - s_i^2 times their squares, so that `deficit_bound` is the
    statement, without the cosine to first order.

    A power round sets eps_{k,j} to -eps_{j,k} exactly and lets the modes i > k go on by themselves;
    a Krylov round weighs all of them, so that moving predecessors disturb a worker's own modes. By
    the triangle inequality e_{k,l} <= (e_{k,l-1} + s_k |change of eps_{.,k}|) / T_k: a linear
    recursion, whose rate is the largest 1/T_j of the worker and of all its predecessors.

    Args:
      modes: eps_{k,i} (..., r, K). seen: eps'_{j,i} (..., r, K). singular_values: (..., K).

    Returns:
      e_k (..., r).

    Source: proved above; new.

    Example:
      >>> eps = jnp.array([[1.0, 0.1, 0.0], [-0.1, 1.0, 0.2]])
      >>> [round(float(e), 4) for e in late_energy(eps, eps, jnp.array([1.0, 0.5, 0.0]))]
      [0.0866, 0.1]
    """
    rank = modes.shape[-2]
    squares = jnp.asarray(singular_values) ** 2
    own = jnp.triu(jnp.ones(modes.shape[-2:], bool), 1)
    later = jnp.where(own, squares[..., :rank, None] - squares[..., None, :], 0) * modes**2
    lag = jnp.tril(modes[..., :rank] + jnp.swapaxes(seen[..., :rank], -1, -2), -1)
    earlier = squares[..., :rank, None] * lag**2
    return jnp.sqrt(jnp.sum(later, axis=-1) + jnp.sum(earlier, axis=-1))
