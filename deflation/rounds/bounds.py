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

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import Components
from deflation.problem.targets import Target
from deflation.rounds.residuals import Known, proved_distances
from deflation.rounds.ritz import Measured, measure, searches_all
from rankwise import checks

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


def certify(target: Target, factors: Components, kept: jax.Array, beyond=None) -> Bounds:
    """Bounds for published factors by one Rayleigh-Ritz step around them (see `measure`).

    To its residuals those of the components themselves belong, which bound an error that is small
    to a few per cent of it (residuals.py).

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
      Bounds in the dtype of M; those of components that are not kept are 0. Numpy's arrays, unless
      something is traced: some hundred operations on r numbers take longer to compile than to do.
    """
    measured = measure(target, factors, kept)
    inputs = (measured, kept, beyond)
    if checks.traced(inputs):
        return _traced_bounds(*inputs, shape=target.shape)
    with np.errstate(all="ignore"):  # infinite bounds, and 0 / 0 of a zero target, are cases of it
        bounds = _bounds(np, *jax.tree.map(np.asarray, inputs), target.shape)
    return Bounds(*(np.asarray(x, target.dtype) for x in bounds[:-1]), np.asarray(bounds.proved))


@functools.partial(jax.jit, static_argnames="shape")
def _traced_bounds(*inputs, shape: tuple[int, int]) -> Bounds:
    """One program also under a transformation that is not part of one, as jax.vmap."""
    return _bounds(jnp, *inputs, shape)


def _bounds(xp, measured: Measured, kept, beyond, shape) -> Bounds:
    unit, rank = measured.unit, measured.sizes.shape[0]
    beyond = None if beyond is None else beyond / unit
    noise, tau, least, proved = _remainder(xp, measured, kept, shape, beyond)
    errors, turned, upper = _single(xp, measured, tau, noise, kept, rank)
    at_best = measured._replace(residuals=0 * measured.residuals)  # what more rounds come to
    limits = _single(xp, at_best, least, noise, kept, rank)[0]
    number = xp.arange(rank)
    known = Known(
        turned=2**0.5 * turned,
        lower=measured.values[:rank] - SLACK * noise,
        upper=upper,
        count=kept,
        beyond=tau,
    )
    direct = proved_distances(xp, measured.sizes, measured.along, known, noise)
    direct = direct + xp.finfo(measured.values.dtype).eps * measured.sizes
    # Of a zero target the quotients are 0 / 0 and say nothing.
    bounds = xp.fmin(measured.apart + errors, direct) + noise
    bounds = xp.fmin(bounds, measured.sizes + upper)
    usable = measured.usable | (number >= kept)
    # What the sums and products of this file round themselves: positive numbers, and few of them.
    unit = unit * (1 + 8 * xp.finfo(measured.values.dtype).eps)
    of_sum = unit * (measured.sum_apart + _sum(xp, measured, tau, noise, kept) + noise)
    return Bounds(
        components=xp.where(usable, xp.where(number < kept, unit * bounds, 0), np.inf),
        of_sum=xp.where(xp.all(usable), of_sum, np.inf),
        noise=unit * noise,
        limits=xp.where(number < kept, unit * xp.fmin(limits, 2 * upper), 0),
        sum_limit=unit * _sum(xp, at_best, least, noise, kept),
        proved=proved,
    )


def unknown(rank: int, dtype) -> Bounds:
    """Bounds where none were asked for: infinite."""
    infinite = np.full(rank, np.inf, dtype)
    none = np.zeros((), dtype)
    return Bounds(infinite, infinite[0], none, np.zeros_like(infinite), none, np.asarray(False))


def _remainder(xp, measured: Measured, kept, shape: tuple[int, int], beyond):
    """(noise, tau, what tau is at least, proved), in units of the largest value."""
    m, d = shape
    values, residuals = measured.values, measured.residuals
    eps = xp.finfo(values.dtype).eps
    number = xp.arange(values.shape[0])
    among = number < kept
    captured = xp.sum(xp.where(among, values**2 + residuals**2, 0))
    last = xp.min(xp.where(among, values, np.inf))
    largest = xp.max(xp.where(number == kept, values, 0))
    off = xp.max(xp.where(number == kept, values + residuals, 0))
    total = measured.square
    if total is None:
        total = captured + (min(m, d) - kept) * largest**2
    # A product rounds entry by entry, and more where its terms have one sign.
    noise = eps / 2 * xp.maximum(xp.sqrt(total), max(m, d) ** 0.5 / 8 * values[0])
    if beyond is not None:
        return noise, beyond + noise, beyond, xp.asarray(True)
    whole = searches_all(shape, measured.sizes.shape[0])
    if whole or measured.square is None:
        return noise, off + noise, largest, xp.asarray(whole)
    room = total - captured + 8 * eps * max(m, d) ** 0.5 * total
    at_most = xp.sqrt(xp.maximum(room, 0))
    proved = last - at_most >= (last - off) / 2
    return noise, xp.where(proved, at_most, off) + noise, largest, proved


def _upper(xp, ritz: Measured, tau, noise, kept) -> jax.Array:
    """Upper bounds of s_j for the kept Ritz triplets j, tau for the others."""
    among = xp.arange(ritz.values.shape[0]) < kept
    square = xp.where(among, (ritz.residuals + noise) ** 2, 0)
    square = xp.cumsum(square[::-1])[::-1]
    value, off = ritz.values**2, tau**2
    spread = (value - off) ** 2 + 2 * square * (value + off) + square**2
    upper = xp.sqrt((value + off + square + xp.sqrt(spread)) / 2) + SLACK * noise
    return xp.where(among, upper, tau)


def _single(xp, ritz: Measured, tau, noise, kept, rank: int):
    """Bounds on ||t_k x_k y_k^T - R*_k||_F, on the sine by which a Ritz triplet is turned, each a
    group of its own, and on s_k, all of them (rank,)."""
    values, residuals = ritz.values, ritz.residuals
    known = _upper(xp, ritz, tau, noise, kept)
    upper = xp.where(xp.arange(known.shape[0] + 1) == kept, tau, xp.append(known, 0))
    value, below = values[:rank], upper[1 : rank + 1]
    above = xp.append(np.inf, values[: rank - 1] - SLACK * noise)
    turn = xp.maximum(*_turn(xp, xp.stack([value, above]), xp.stack([below, value])))
    turned, upper = (residuals[:rank] + noise) * turn, known[:rank]
    return xp.minimum(2**0.5 * upper * turned, value + upper), turned, upper


def _sum(xp, ritz: Measured, tau, noise, kept) -> jax.Array:
    """Bound on ||sum_{i <= kept} t_i x_i y_i^T - best||_F."""
    among = xp.arange(ritz.values.shape[0]) < kept
    leaving = xp.where(among, ritz.residuals + noise, 0)
    turned = xp.minimum(xp.where(among, leaving * _turn(xp, ritz.values, tau), 0), 1)
    turned = xp.linalg.norm(xp.where(xp.isnan(turned), 1, turned))
    return xp.hypot(xp.linalg.norm(leaving) + tau * turned, tau * turned)


def _turn(xp, larger, smaller) -> jax.Array:
    """larger / (larger^2 - smaller^2); infinite where it is not larger, 0 where it is infinite."""
    gap = larger - smaller
    finite = xp.isfinite(larger) & (gap > 0)
    within = xp.where(finite, larger, 1), xp.where(finite, smaller, 0)
    turn = within[0] / ((within[0] - within[1]) * (within[0] + within[1]))
    return xp.where(finite, turn, xp.where(larger == np.inf, 0, np.inf))
