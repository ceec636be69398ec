"""The derivative of the exact components with respect to the target, attached to computed ones.

Legend: s_k, u_k, v_k singular triplets of M, b_k = s_k u_k, a_k = v_k. From M v = s u, M^T u = s v,
    s du - M dv   = (dM v)   off u,
    s dv - M^T du = (dM^T u) off v,      ds = u^T dM v,
a symmetric system in (du, dv). Its solution in span of the other known triplets is explicit
(eigenvectors (u_i, +-v_i) with eigenvalues s_k -+ s_i); on the rest it is positive definite with
smallest eigenvalue s_k - s_{r+1}, and conjugate gradients solve it with products alone. The reverse
rule solves the same system for the incoming cotangents, so nothing larger than the factors is kept
and operators work as dense targets do.

Tied components have no derivative of their own, but functions of their sum have (see `_inner`).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.components import Components, normalise, product, row_norm
from deflation.targets import Target, times, times_transposed


@jax.custom_vjp
def attach(target: Target, factors: Components) -> Components:
    """Returns `factors` (canonical, whitened), with the derivative of the exact ones in `target`.

    The derivative is that of the converged answer; at factors that are not converged it is as
    inexact as they are. The factors themselves carry no other derivative.
    """
    del target
    return factors


def _forward(target, factors):
    return factors, (target, factors)


def _backward(saved, cotangent: Components):
    target, factors = saved
    s = row_norm(factors.b)
    # Components beyond the rank of M are zero: they have no derivative, and their directions are
    # not singular vectors that the others could be projected from.
    live = s > 10 * jnp.finfo(s.dtype).eps * jnp.max(s)
    u, v = (jnp.where(live, rows, 0) for rows in (normalise(factors.b), factors.a))
    rhs_b, rhs_a = (jnp.where(live, rows, 0) for rows in (s * cotangent.b, cotangent.a))
    inner = _inner(s, live, u, v, rhs_b, rhs_a)
    p, q = _outer(target, s, u, v, rhs_b, rhs_a)

    def pairing(target):
        # Linear in M; its gradient is sum_ik inner_ik u_i v_k^T + sum_k p_k v_k^T + u_k q_k^T.
        image = times(target, v)
        left = jnp.sum(inner * product(u, image.T)) + jnp.sum(p * image)
        return left + jnp.sum(u * times(target, q))

    zero = jax.tree.map(jnp.zeros_like, factors)
    return jax.grad(pairing, allow_int=True)(target), zero


attach.defvjp(_forward, _backward)


def _inner(s, live, u, v, rhs_b, rhs_a):
    """The part of the solution within the known triplets: coefficients (r, r) of u_i v_k^T.

    Entry (i, k) collects what components k and i say of that direction. Their terms over s_k - s_i
    are joined before the division: with g_ki = (along u_i + along v_i) / (2 s_k) they are
        (s_k g_ki - s_i g_ik) / (s_k - s_i)
          = (g_ki + g_ik) / 2 + (s_k + s_i) (g_ki - g_ik) / (2 (s_k - s_i)),
    of which the second part is zero for a function of the sum, tied or not.
    """
    eps = jnp.finfo(s.dtype).eps
    # Row k, column i: the right-hand sides of component k along the triplet i.
    along_u, along_v = product(rhs_b, u.T), product(rhs_a, v.T)
    size = jnp.where(live, s, 1)
    same = (along_u + along_v) / (2 * size)
    opposite = (along_u - along_v) / 2
    both = live & live.T
    gap = s - s.T
    open_gap = both & (jnp.abs(gap) > jnp.sqrt(eps) * jnp.maximum(s, s.T))
    turning = (s + s.T) * (same - same.T) / jnp.where(open_gap, 2 * gap, 1)
    symmetric = (same + same.T) / 2 + jnp.where(open_gap, turning, 0)
    antisymmetric = (opposite - opposite.T) / jnp.where(both, s + s.T, 1)
    pairs = jnp.where(both, symmetric + antisymmetric, 0).T  # (i, k)
    slope = jnp.where(live, jnp.sum(rhs_b * u, axis=1, keepdims=True) / size, 0)  # dL/ds_k
    return jnp.where(jnp.eye(s.shape[0], dtype=bool), slope, pairs)


def _outer(target, s, u, v, rhs_b, rhs_a):
    """The part off all known triplets, p_k and q_k for all k at once; rows (r, .)."""

    # Computed factors are orthonormal up to their errors; the projections have to be exact, or the
    # singular part of the system leaks in.
    u, v = _orthonormal(u), _orthonormal(v)

    def off(rows, basis):
        return rows - product(product(rows, basis.T), basis)

    def system(x):
        p, q = x
        image_p = s * p - times(target, q)
        image_q = s * q - times_transposed(target, p)
        return off(image_p, u), off(image_q, v)

    rest = (off(rhs_b, u), off(rhs_a, v))
    # Where nothing is left (full rank, or cotangents in the known span) `rest` is rounding, which
    # must not be solved for: the stopping rule looks at the whole right-hand side.
    tolerance = 30 * jnp.finfo(s.dtype).eps
    size = jnp.sqrt(jnp.sum(rhs_b**2) + jnp.sum(rhs_a**2))
    x, _ = jax.scipy.sparse.linalg.cg(system, rest, tol=0.0, atol=tolerance * size, maxiter=500)
    return x


def _orthonormal(rows):
    """The same span by an orthonormal set closest to the rows; zero rows stay zero."""
    values, vectors = jnp.linalg.eigh(product(rows, rows.T))
    keep = values > rows.shape[0] * jnp.finfo(rows.dtype).eps
    root = jnp.where(keep, 1 / jnp.sqrt(jnp.where(keep, values, 1)), 0)
    return product(product(vectors * root, vectors.T), rows)


@jax.custom_vjp
def refuse(target: Target, factors: Components) -> Components:
    """Returns `factors`; their derivative is refused with a clear line."""
    del target
    return factors


def _refused(saved, cotangent):
    raise TypeError(
        "the result of joint has no derivative: its columns are not determined by the target; "
        "differentiate sequential, parallel, sharded or exact"
    )


refuse.defvjp(lambda target, factors: (factors, None), _refused)
