"""The derivative of the exact components with respect to the target, attached to computed ones.

Legend: s_k, u_k, v_k singular triplets of M, b_k = s_k u_k, a_k = v_k. From M v = s u, M^T u = s v,
    s du - M dv   = (dM v)   off u,
    s dv - M^T du = (dM^T u) off v,      ds = u^T dM v,
a symmetric system in (du, dv). Its solution in span of the other known triplets is explicit
(eigenvectors (u_i, +-v_i) with eigenvalues s_k -+ s_i); on the rest it is positive definite with
smallest eigenvalue s_k - s_{r+1}, and is solved with products alone, so that operators work as
dense targets do. The rule is linear in dM, and all it is made of can be transposed and
differentiated again: forward and reverse mode and their compositions are this one rule.

What is returned where there is no derivative is finite:
  ties among the r components   none for single ones, exact for functions of their sum (`_inner`)
  a tie of s_r and s_{r+1}      every turn into a direction with s_k - s = g is weighted by
                                g / (g^2 + SHARP^2) for 1 / g: the derivative where the gap is wide
                                beside SHARP, none along a tie
  rank of M below r             components beyond it have the derivative zero; that of the sum is
                                the projection of dM on the tangent space of the matrices of M's
                                rank, P_u dM + dM P_v - P_u dM P_v
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, product, row_norm
from deflation.problem.targets import Target, times, times_transposed

STEPS = 500  # of the iterative solver, at most


@jax.custom_jvp
def attach(target: Target, factors: Components) -> Components:
    """Returns `factors` (canonical, whitened), with the derivative of the exact ones in `target`.

    The derivative is that of the converged answer; at factors that are not converged it is as
    inexact as they are. The factors themselves carry no other derivative.
    """
    del target
    return factors


@attach.defjvp
def _derivative(primals, tangents):
    target, factors = primals
    change, _ = tangents
    factors = attach(target, factors)  # for derivatives of this derivative
    # Components beyond the rank of M are zero: they have no derivative, and their directions are
    # not singular vectors that the others could be projected from.
    sizes = row_norm(jax.lax.stop_gradient(factors.b))
    live = sizes > 10 * jnp.finfo(sizes.dtype).eps * jnp.max(sizes)
    s = row_norm(jnp.where(live, factors.b, 1))
    u, v = (jnp.where(live, rows, 0) for rows in (factors.b / s, factors.a))
    s = jnp.where(live, s, 0)

    def changed(multiply, rows):
        return jax.jvp(lambda t: multiply(t, rows), (target,), (change,))[1]

    along_v, along_u = changed(times, v), changed(times_transposed, u)  # dM v_k and dM^T u_k
    slope = jnp.sum(u * along_v, axis=1, keepdims=True)
    left, right = _inner(s, live, product(along_v, u.T))
    du, dv = _outer(target, s, live, u, v, along_v, along_u)
    du, dv = du + product(left, u), dv + product(right, v)
    return factors, Components(slope * u + s * du, dv)


def _inner(s, live, seen):
    """The part of the solution within the known triplets: coefficients (r, r) of du_k along u_i and
    of dv_k along v_i, from seen_ki = u_i^T dM v_k.

    du_k along u_i is (s_k seen_ki + s_i seen_ik) / (s_k^2 - s_i^2), dv_k along v_i the same with
    seen transposed. By sum and difference,
        (seen_ki + seen_ik) / (2 (s_k - s_i)) +- (seen_ki - seen_ik) / (2 (s_k + s_i)).
    Of the first part, a turn of u and v alike, only what it adds to the sum of both components is
    determined at a tie, (seen_ki + seen_ik) / 2 along u_i v_k^T and along u_k v_i^T; the
    denominator 2 (s_k + s_i) gives that.
    """
    both = live & live.T & ~jnp.eye(s.shape[0], dtype=bool)
    total = jnp.where(both, 2 * (s + s.T), 1)
    gap = s - s.T
    tied = jnp.abs(gap) <= jnp.sqrt(jnp.finfo(s.dtype).eps) * jnp.maximum(s, s.T)
    turn = jnp.where(both, (seen + seen.T) / jnp.where(both & ~tied, 2 * gap, total), 0)
    twist = jnp.where(both, (seen - seen.T) / total, 0)
    return turn + twist, turn - twist


def _outer(target, s, live, u, v, along_v, along_u):
    """The part off all known triplets, for all k at once; rows (r, .)."""
    off_u, off_v = _projector(u, live), _projector(v, live)
    # Below it two singular values are taken for one; relative to the largest.
    sharp = jnp.sqrt(jnp.finfo(s.dtype).eps) / 4 * jnp.max(s)
    # Zero components have no equation of their own.
    scale = jnp.tile(jnp.where(live, s, jnp.max(s)), (2, 1))

    def system(x):
        """(A + i SHARP) x of x = p + i p', q + i q', stacked; A is the identity (times s) where the
        unknowns do not lie, which keeps it symmetric."""
        p, q = x
        image_p = scale * p - off_u(times(target, off_v(q)))
        image_q = scale * q - off_v(times_transposed(target, off_u(p)))
        return image_p - sharp * _turned(p), image_q - sharp * _turned(q)

    rest = off_u(along_v), off_v(along_u)
    rest = tuple(jnp.concatenate([rows, jnp.zeros_like(rows)]) for rows in rest)
    solution = jax.lax.custom_linear_solve(system, rest, _solve, _solve)
    du, dv = (rows[: s.shape[0]] for rows in solution)
    return jnp.where(live, off_u(du), 0), jnp.where(live, off_v(dv), 0)


def _turned(rows):
    """(x', -x) of stacked (x, x'): -i (x + i x')."""
    real, imaginary = jnp.split(rows, 2)
    return jnp.concatenate([imaginary, -real])


def _solve(system, rest):
    """The solution of a complex symmetric system by conjugate gradients without conjugation (COCG).

    Real and imaginary parts are stacked, as targets are real.
    Source: van der Vorst and Melissen (1990).
    """

    def pairing(x, y):
        """Sum of the products of entries, as a complex number (2,)."""
        real, imaginary = 0.0, 0.0
        for one, other in zip(x, y, strict=True):
            (a, b), (c, d) = jnp.split(one, 2), jnp.split(other, 2)
            real += jnp.sum(a * c) - jnp.sum(b * d)
            imaginary += jnp.sum(a * d) + jnp.sum(b * c)
        return jax.lax.complex(real, imaginary)

    def added(x, factor, y):
        """x + factor y."""
        real, imaginary = jnp.real(factor), jnp.imag(factor)
        return tuple(a + real * b - imaginary * _turned(b) for a, b in zip(x, y, strict=True))

    def square(x):
        return sum(jnp.sum(rows**2) for rows in x)

    # In units of its own: a derivative may be of any size, and its squares leave the dtype's range.
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(rows)) for rows in rest]))
    unit = jnp.where(largest > 0, largest, 1)
    rest = tuple(rows / unit for rows in rest)
    eps = jnp.finfo(rest[0].dtype).eps
    enough = (30 * eps) ** 2 * square(rest)

    def unfinished(carry):
        count, _, left, *_ = carry
        return (count < STEPS) & (square(left) > enough)

    def step(carry):
        count, x, left, direction, rho = carry
        image = system(direction)
        size = rho / pairing(direction, image)
        x, left = added(x, size, direction), added(left, -size, image)
        new = pairing(left, left)
        return count + 1, x, left, added(left, new / rho, direction), new

    nothing = tuple(jnp.zeros_like(rows) for rows in rest)
    carry = (0, nothing, rest, rest, pairing(rest, rest))
    return tuple(unit * rows for rows in jax.lax.while_loop(unfinished, step, carry)[1])


def _projector(rows, live):
    """x -> x off the span of the rows, which are orthonormal up to their errors; the projection is
    orthogonal all the same, or the singular part of the system would leak in."""
    eps = jnp.finfo(rows.dtype).eps
    # A one for every zero row, and a shift for rows that coincide.
    diagonal = jnp.where(live[:, 0], 4 * eps, 1)
    inverse = jnp.linalg.inv(product(rows, rows.T) + jnp.diag(diagonal))

    def once(x):
        return x - product(product(product(x, rows.T), inverse), rows)

    return lambda x: once(once(x))


@jax.custom_jvp
def refuse(target: Target, factors: Components) -> Components:
    """Returns `factors`; their derivative is refused with a clear line."""
    del target
    return factors


@refuse.defjvp
def _refused(primals, tangents):
    raise TypeError(
        "the result of joint has no derivative: its columns are not determined by the target; "
        "differentiate sequential, parallel, sharded or exact"
    )
