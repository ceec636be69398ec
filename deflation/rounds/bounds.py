"""How far published components can be from the exact ones, proved after the run.

Legend: M (m, d) with singular triplets s_j, u_j, v_j; R*_j = s_j u_j v_j^T; r published components.
In a searched space of p >= r directions the Ritz triplets t_i, x_i, y_i of M have M y_i = t_i x_i
and leave e_i = M^T x_i - t_i y_i. For every exact triplet j that gives, without approximation,

    (s_j^2 - t_i^2) (v_j . y_i) = t_i (v_j . e_i),    (s_j^2 - t_i^2) (u_j . x_i) = s_j (v_j . e_i)

so that a Ritz triplet leaves the exact space of its own group of values by at most

    w_i = |e_i| max_j max(s_j, t_i) / |s_j^2 - t_i^2|,           j outside of the group,

so that t_i x_i y_i^T is within sqrt(2) s_i w_i of R*_i, i a group of its own, and the sum of the
first r, with tau = ||M off them||, E = ||(e_i)||, w = ||(w_i)||, within sqrt((E + tau w)^2 +
(tau w)^2) of the best one: M (P' - P) for the exact and the Ritz projection P, P' on the right.
What was published is at a distance from the Ritz triplets that is computed, not bounded; or
their own residuals are compared with the Ritz triplets (residuals.py), the smaller bound holds.

The s_j are not known; they are held between s_j >= t_j and, for A = M off the first j - 1 Ritz
triplets, s_j <= ||A|| <= ||[t_j, ||(e_i)_{i >= j}||; 0, tau]||. Rounding is a residual like any
other, on both sides: |e_i| is measured as |M y_i - t_i x_i| + |M^T x_i - t_i y_i|, of which `noise`
is taken to be unknown, as of every product with M, and SLACK of it of the values.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation.problem.components import Components, distances, normalise, norms, product, row_norm
from deflation.problem.targets import Scaled, Target, entries, times, times_transposed
from deflation.problem.units import unit_of
from deflation.rounds.residuals import Known, Triplets, proved_distances

SMALL = 64  # sides up to this are searched as a whole
BLOCK, DEPTH = 3, 6  # elsewhere a block Krylov space beside the components
SLACK = 4  # rounding of the values, in units of that of a product


class Bounds(NamedTuple):
    """What is known of r components; whitened units.

    Attributes:
      components: bound on ||R_k - R*_k||_F of every one (r,).
      of_sum: bound on the distance of the sum of the kept ones from the best of that rank.
      noise: what rounding leaves undecided of a product with M.
      limits: the part of `components` that rounding alone causes, which no round reduces (r,).
      sum_limit: that part of `of_sum`.
      proved: whether nothing was assumed, see `certify`.
    """

    components: jax.Array
    of_sum: jax.Array
    noise: jax.Array
    limits: jax.Array
    sum_limit: jax.Array
    proved: jax.Array

    def multiplied(self, unit: jax.Array) -> Bounds:
        """Those of components that are `unit` times as large."""
        return Bounds(*(unit * size for size in self[:-1]), self.proved)


@jax.jit
def certify(target: Target, factors: Components, kept: jax.Array, beyond=None) -> Bounds:
    """Bounds for published factors by one Rayleigh-Ritz step around them.

    Where min(m, d) is small the whole space is searched. Else the components and a small block
    Krylov space of M^T M off them, from the directions in which their residuals point (a nearly
    tied one that they miss is among these, however small the residual is) and a random one: 3 r +
    37 products with M and 2 r + 21 with M^T of an operator, 2 r more of each of an array, of which
    two copies are made; the other way round for m < d. Where the whole is searched, min(m, d) + 2 r
    + 1 and 2 r + 1. To these the residuals of the components themselves belong, which bound an
    error that is small to a few per cent of it (residuals.py).

    One number is not in reach of products alone: tau, how large M is off the kept components. It is
    proved where the whole space was searched, or where ||M||_F leaves no room for more than half of
    the measured gap. Else tau is taken to be the largest Ritz value off the components and its
    residual: the assumption is that no direction with a larger value escaped both the residuals and
    the random direction. `proved` says which.

    Args:
      target: M (m, d).
      factors: canonical and whitened, largest first, b (r, m), a (r, d).
      kept: how many of them are meant, the others are only searched.
      beyond: s_{kept+1} where it is known.

    Returns:
      Bounds in the dtype of M; those of components that are not kept are 0.
    """
    m, d = target.shape
    rank = factors.a.shape[0]
    forward, backward, sides = times, times_transposed, factors
    if m < d:  # from the shorter side
        forward, backward, sides = times_transposed, times, Components(factors.a, factors.b)
    side = min(m, d)
    whole = side <= max(SMALL, rank + BLOCK * DEPTH)
    finite = Components(*(jnp.where(jnp.isfinite(rows), rows, 0) for rows in sides))
    if whole:
        basis = jnp.eye(side, dtype=target.dtype)
    else:
        basis = _searched(target, finite, forward, backward)
    images = forward(target, basis)
    left = _orthonormal(images)
    turn, values, back = jnp.linalg.svd(product(images, left.T))
    count = min(rank + 1, basis.shape[0])  # no other is looked at
    values = values[:count]
    y, x = (
        normalise(rows) for rows in (product(turn.T[:count], basis), product(back[:count], left))
    )
    # Measured, so that what rounding did to the bases and to the decomposition is in them.
    residuals = (
        row_norm(forward(target, y) - values[:, None] * x)
        + row_norm(backward(target, x) - values[:, None] * y)
    )[:, 0]
    ritz = Components(values[:, None] * x, y)
    # Everything in units of the largest value, so that squares stay in range; a power of two, so
    # that no entry is rounded.
    unit = unit_of(values)
    finite, ritz = (Components(pair.b / unit, pair.a) for pair in (finite, ritz))
    away = distances(finite, Components(*(rows[:rank] for rows in ritz)))
    apart = _sum_apart(finite, ritz, basis, kept)
    beyond = None if beyond is None else beyond / unit
    scaled = _Ritz(values / unit, residuals / unit)
    noise, tau, least, proved = _remainder(target, scaled, kept, unit, whole, beyond)
    errors = _single(scaled, tau, noise, kept, rank)
    at_best = scaled._replace(residuals=0 * residuals)  # what more rounds come to
    limits = _single(at_best, least, noise, kept, rank)
    upper = _upper(scaled, tau, noise, kept)[:rank]
    number = jnp.arange(rank)
    known = Known(
        near=Triplets(values[:rank] / unit, x[:rank], y[:rank]),
        turned=2**0.5 * _turned(scaled, tau, noise, kept, rank),
        lower=values[:rank] / unit - SLACK * noise,
        upper=upper,
        count=kept,
        beyond=tau,
    )
    direct = Triplets(norms(finite), normalise(finite.b), normalise(finite.a))
    if m < d:
        direct, known = direct.transposed(), known._replace(near=known.near.transposed())
    direct = proved_distances(Scaled(target, 1 / unit), direct, known, noise)
    # Of a zero target the quotients are 0 / 0 and say nothing.
    bounds = jnp.fmin(away + errors, direct + jnp.finfo(noise.dtype).eps * norms(finite)) + noise
    bounds = jnp.fmin(bounds, norms(finite) + upper)
    known = jnp.all(jnp.isfinite(factors.b), axis=1) & jnp.all(jnp.isfinite(factors.a), axis=1)
    known = known | (number >= kept)
    of_sum = unit * (apart + _sum(scaled, tau, noise, kept) + noise)
    return Bounds(
        components=jnp.where(known, jnp.where(number < kept, unit * bounds, 0), jnp.inf),
        of_sum=jnp.where(jnp.all(known), of_sum, jnp.inf),
        noise=unit * noise,
        limits=jnp.where(number < kept, unit * jnp.fmin(limits, 2 * upper), 0),
        sum_limit=unit * _sum(at_best, least, noise, kept),
        proved=proved,
    )


def unknown(sizes: jax.Array) -> Bounds:
    """Bounds where none were asked for: infinite."""
    infinite = jnp.full_like(sizes, jnp.inf)
    none = jnp.zeros((), sizes.dtype)
    return Bounds(infinite, infinite[0], none, jnp.zeros_like(sizes), none, jnp.asarray(False))


class _Ritz(NamedTuple):
    """Values and norms of residuals of the first Ritz triplets, in units of the largest value."""

    values: jax.Array
    residuals: jax.Array


def _searched(target, sides: Components, forward, backward) -> jax.Array:
    """Orthonormal rows (r + BLOCK DEPTH, .): the components, and the Krylov space off them."""
    rank, side = sides.a.shape
    known = _orthonormal(normalise(sides.a))
    # From the last component, next to which something may have been missed, and a mixture of all.
    key, mix = jax.random.split(jax.random.key(0))
    unit = normalise(sides.b)
    mixture = product(jax.random.normal(mix, (BLOCK - 2, rank), unit.dtype), unit)
    pointing = backward(target, jnp.concatenate([unit[-1:], mixture]))
    block = jnp.concatenate([pointing, jax.random.normal(key, (1, side), unit.dtype)])
    basis = jnp.concatenate([known, jnp.zeros((BLOCK * DEPTH, side), unit.dtype)])

    def extend(step, carry):
        basis, block = carry
        for _ in range(2):  # the second time only rounding is projected off
            block = normalise(block - product(product(block, basis.T), basis))
        block = _orthonormal(block)
        basis = jax.lax.dynamic_update_slice(basis, block, (rank + BLOCK * step, 0))
        return basis, backward(target, normalise(forward(target, block)))

    # Once more at the end: what was next to nothing off the basis is not orthogonal to it.
    return _orthonormal(jax.lax.fori_loop(0, DEPTH, extend, (basis, block))[0])


def _orthonormal(rows: jax.Array) -> jax.Array:
    """Orthonormal rows whose leading ones span the leading rows, of whatever rank these are."""
    return jnp.linalg.qr(rows.T)[0].T


def _sum_apart(sides: Components, ritz: Components, basis, kept) -> jax.Array:
    """||sum_k R_k - sum_i t_i x_i y_i^T||_F of the kept ones, in the basis that both lie in."""

    def coordinates(components):
        among = (jnp.arange(components.a.shape[0]) < kept)[:, None]
        return product(jnp.where(among, components.b, 0).T, product(components.a, basis.T))

    difference = coordinates(sides) - coordinates(ritz)
    return row_norm(row_norm(difference).T)[0, 0]


def _remainder(target, ritz: _Ritz, kept, unit, whole: bool, beyond):
    """(noise, tau, what tau is at least, proved), in units of the largest value."""
    m, d = target.shape
    eps = jnp.finfo(ritz.values.dtype).eps
    number = jnp.arange(ritz.values.shape[0])
    among = number < kept
    captured = jnp.sum(jnp.where(among, ritz.values**2 + ritz.residuals**2, 0))
    last = jnp.min(jnp.where(among, ritz.values, jnp.inf))
    largest = jnp.max(jnp.where(number == kept, ritz.values, 0))
    measured = jnp.max(jnp.where(number == kept, ritz.values + ritz.residuals, 0))
    array = entries(target)
    if array is None:
        total = captured + (min(m, d) - kept) * largest**2
    else:
        total = jnp.sum(jnp.sum((array / unit) ** 2, axis=1))
    # A product rounds entry by entry, and more where its terms have one sign.
    noise = eps / 2 * jnp.maximum(jnp.sqrt(total), max(m, d) ** 0.5 / 8 * ritz.values[0])
    if beyond is not None:
        return noise, beyond + noise, beyond, jnp.asarray(True)
    if whole or array is None:
        return noise, measured + noise, largest, jnp.asarray(whole)
    room = total - captured + 8 * eps * max(m, d) ** 0.5 * total
    at_most = jnp.sqrt(jnp.maximum(room, 0))
    proved = last - at_most >= (last - measured) / 2
    return noise, jnp.where(proved, at_most, measured) + noise, largest, proved


def _upper(ritz: _Ritz, tau, noise, kept) -> jax.Array:
    """Upper bounds of s_j for the kept Ritz triplets j, tau for the others."""
    among = jnp.arange(ritz.values.shape[0]) < kept
    square = jnp.where(among, (ritz.residuals + noise) ** 2, 0)
    square = jnp.cumsum(square[::-1])[::-1]
    value, off = ritz.values**2, tau**2
    spread = (value - off) ** 2 + 2 * square * (value + off) + square**2
    upper = jnp.sqrt((value + off + square + jnp.sqrt(spread)) / 2) + SLACK * noise
    return jnp.where(among, upper, tau)


def _turned(ritz: _Ritz, tau, noise, kept, rank: int) -> jax.Array:
    """Bounds on the sine by which a Ritz triplet is turned, each a group of its own (rank,)."""
    values, residuals = ritz
    upper = jnp.append(_upper(ritz, tau, noise, kept), 0)
    upper = jnp.where(jnp.arange(upper.shape[0]) == kept, tau, upper)
    value, below = values[:rank], upper[1 : rank + 1]
    above = jnp.append(jnp.inf, values[: rank - 1] - SLACK * noise)
    return (residuals[:rank] + noise) * jnp.maximum(_turn(value, below), _turn(above, value))


def _single(ritz: _Ritz, tau, noise, kept, rank: int) -> jax.Array:
    """Bounds on ||t_k x_k y_k^T - R*_k||_F (rank,)."""
    upper = _upper(ritz, tau, noise, kept)[:rank]
    turned = _turned(ritz, tau, noise, kept, rank)
    return jnp.minimum(2**0.5 * upper * turned, ritz.values[:rank] + upper)


def _sum(ritz: _Ritz, tau, noise, kept) -> jax.Array:
    """Bound on ||sum_{i <= kept} t_i x_i y_i^T - best||_F."""
    among = jnp.arange(ritz.values.shape[0]) < kept
    leaving = jnp.where(among, ritz.residuals + noise, 0)
    turned = jnp.minimum(jnp.where(among, leaving * _turn(ritz.values, tau), 0), 1)
    turned = jnp.linalg.norm(jnp.where(jnp.isnan(turned), 1, turned))
    return jnp.hypot(jnp.linalg.norm(leaving) + tau * turned, tau * turned)


def _turn(larger, smaller) -> jax.Array:
    """larger / (larger^2 - smaller^2); infinite where it is not larger, 0 where it is infinite."""
    gap = larger - smaller
    finite = jnp.isfinite(larger) & (gap > 0)
    within = jnp.where(finite, larger, 1), jnp.where(finite, smaller, 0)
    turn = within[0] / ((within[0] - within[1]) * (within[0] + within[1]))
    return jnp.where(finite, turn, jnp.where(larger == jnp.inf, 0, jnp.inf))
