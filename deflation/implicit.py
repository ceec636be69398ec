"""The derivative of the exact components with respect to the target, attached to computed ones.

Legend: s_k, u_k, v_k singular triplets of M, b_k = s_k u_k, a_k = v_k. From M v = s u, M^T u = s v,
    s du - M dv   = (dM v)   off u,
    s dv - M^T du = (dM^T u) off v,      ds = u^T dM v,
a symmetric system in (du, dv). Its solution in span of the other known triplets is explicit
(eigenvectors (u_i, +-v_i) with eigenvalues s_k -+ s_i); on the rest it is positive definite with
smallest eigenvalue s_k - s_{r+1}, and conjugate gradients solve it with products alone. The reverse
rule solves the same system for the incoming cotangents, so nothing larger than the factors is kept
and operators work as dense targets do.

Tied components have no derivative of their own; their mutual terms are left out, which is exact for
functions of the sum.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.components import Components, normalise, product, safe_norm
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
    s = safe_norm(factors.b)
    u, v = normalise(factors.b), factors.a
    slope = jnp.sum(cotangent.b * u, axis=1, keepdims=True)  # dL/ds_k
    p, q = _solve(target, s, u, v, s * cotangent.b, cotangent.a)

    def pairing(target):
        # Linear in M; its gradient is sum_k p_k v_k^T + u_k q_k^T + slope_k u_k v_k^T.
        left = jnp.sum((p + slope * u) * times(target, v))
        return left + jnp.sum(u * times(target, q))

    zero = jax.tree.map(jnp.zeros_like, factors)
    return jax.grad(pairing, allow_int=True)(target), zero


attach.defvjp(_forward, _backward)


def _solve(target, s, u, v, rhs_b, rhs_a):
    """Solves the symmetric system for all k at once; rows (r, .)."""
    r = s.shape[0]
    # Coordinates of the right-hand sides along the known triplets i of every k.
    along_u, along_v = product(rhs_b, u.T), product(rhs_a, v.T)
    other = ~jnp.eye(r, dtype=bool)

    def divided(value, eigenvalue):
        usable = other & (jnp.abs(eigenvalue) > jnp.sqrt(jnp.finfo(s.dtype).eps) * s)
        return jnp.where(usable, value / jnp.where(usable, eigenvalue, 1), 0)

    plus = divided((along_u + along_v) / 2, s - s.T)
    minus = divided((along_u - along_v) / 2, s + s.T)
    p, q = product(plus + minus, u), product(plus - minus, v)

    def off(rows, basis):
        return rows - product(product(rows, basis.T), basis)

    def system(x):
        p, q = x
        image_p = s * p - times(target, q)
        image_q = s * q - times_transposed(target, p)
        return off(image_p, u), off(image_q, v)

    rest = (off(rhs_b, u), off(rhs_a, v))
    tolerance = float(jnp.finfo(s.dtype).eps) * 10
    x, _ = jax.scipy.sparse.linalg.cg(system, rest, tol=tolerance, maxiter=500)
    return p + x[0], q + x[1]


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
