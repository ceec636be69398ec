"""Residuals of given triplets t, x, y of M, and the error that they prove: e = M y - t x and
f = M^T x - t y.

With the exact triplets s_j, u_j, v_j, without approximation and for x, y of any length,

    (s_j^2 - t^2) (v_j . y) = s_j (u_j . e) + t (v_j . f)
    (s_j^2 - t^2) (u_j . x) = t (u_j . e) + s_j (v_j . f)

so that the parts of e and f along another triplet, which its approximation gives to first order,
say how far x and y have turned into it: the size of an error, not only a bound on it. What limits
that is rounding of e and f, differences of nearly equal vectors. Of an array they are computed as
if with more digits: M, x and y are cut into leading bits, few enough for products of them to be
exact, and a rest that is 2^-bits as large, and so is the rounding of the products with it.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import product, row_norm
from deflation.problem.targets import OnHost, Target, entries, times, times_transposed
from deflation.problem.units import host_unit_of, unit_of


class Triplets(NamedTuple):
    """values t (r,), rows x (r, m), y (r, d) of unit length."""

    values: jax.Array
    x: jax.Array
    y: jax.Array

    def transposed(self) -> Triplets:
        """Those of M^T."""
        return Triplets(self.values, self.y, self.x)


class Residuals(NamedTuple):
    """e (r, m) and f (r, d), and what is left of rounding, in units of that of a product."""

    e: jax.Array
    f: jax.Array
    rounding: float


class Along(NamedTuple):
    """How large residuals are (r, 1), and along approximate triplets x, y near by (r, p)."""

    size_e: jax.Array
    size_f: jax.Array
    along_e: jax.Array
    along_f: jax.Array
    rounding: jax.Array | float


class Known(NamedTuple):
    """What is known of the exact triplets u_j, s_j, v_j of one place each (p,).

    Attributes:
      turned: bounds on |u_j - x_j| and |v_j - y_j| for the approximate ones of the same place.
      lower, upper: of s_j.
      count: how many there are; the others are not looked at.
      beyond: bound on every s_j after these.
    """

    turned: jax.Array
    lower: jax.Array
    upper: jax.Array
    count: jax.Array
    beyond: jax.Array


def residuals(target: Target, triplets: Triplets, xp=jnp) -> Residuals:
    """Of every triplet: r products with M and with M^T; of an array three times as many, half of
    them with its leading bits and half with the rest, both of which are held in memory."""
    values, x, y = triplets
    scale = values[:, None]
    array = entries(target)
    # Sums of products of leading bits are integers below 1.2 sqrt(n) 2^(2 bits): |row| |y|.
    digits = jnp.finfo(target.dtype).nmant + 1
    bits = int(digits - math.log2(1.2 * max(target.shape) ** 0.5)) // 2
    if array is None or bits < 2:
        return Residuals(times(target, y) - scale * x, times_transposed(target, x) - scale * y, 1.0)
    unit = (host_unit_of if xp is np else unit_of)(array)
    # Entries of M are below 4 units, those of x and y at most 1.
    lead, rest = _cut(xp, array, unit * 2.0 ** (2 - bits))
    top, low = _cut(xp, scale, unit * 2.0 ** (2 - bits))
    if xp is np:
        lead, rest = OnHost(lead), OnHost(rest)

    def difference(forward, rows, others):
        (first, second), (leading, tail) = (_cut(xp, each, 2.0**-bits) for each in (rows, others))
        r = rows.shape[0]
        products = forward(lead, xp.concatenate([first, second]))
        exact = products[:r] - top * leading
        return exact + (products[r:] + forward(rest, rows) - (top * tail + low * others))

    return Residuals(difference(times, y, x), difference(times_transposed, x, y), 2.0 ** (1 - bits))


def _cut(xp, rows: jax.Array, step) -> tuple[jax.Array, jax.Array]:
    """The nearest multiples of `step`, a power of two, and the rest."""
    leading = xp.round(rows / step) * step
    return leading, rows - leading


def along(target: Target, triplets: Triplets, near: Triplets, xp=jnp) -> Along:
    """The residuals of `triplets` (r), along others (p) that are near the exact ones."""
    e, f, share = residuals(target, triplets, xp)
    sides = product(e, near.x.T, xp), product(f, near.y.T, xp)
    return Along(row_norm(e, xp), row_norm(f, xp), *sides, share)


def proved_distances(xp, sizes, measured: Along, known: Known, noise) -> jax.Array:
    """Bounds on ||t x y^T - s u v^T||_F for the triplet s, u, v of the same place (r,).

    Args:
      xp: numpy or jax.numpy.
      sizes: t, r <= p of them.
      measured: their residuals.
      known: what is known of the exact ones.
      noise: rounding of a product with M.

    Returns:
      The bounds; infinite where a gap is closed or an angle is not small.
    """
    t = sizes[:, None]
    r, p = t.shape[0], known.upper.shape[0]
    size_e, size_f, along_e, along_f, share = measured
    place, number = xp.arange(r)[:, None], xp.arange(p)
    lower, upper = known.lower, known.upper
    # Between t^2 and s_j^2, at least.
    gap = xp.where(number < place, lower - t, t - upper)
    apart = gap * (t + xp.where(number < place, lower, upper))
    apart = xp.where(gap > 0, apart, 0)
    eps = xp.finfo(t.dtype).eps
    loose = known.turned + 8 * eps
    fine = share * noise
    middle, width = (upper + lower) / 2, (upper - lower) / 2

    def turned(of_e, of_f, far):
        """The squared sine of the angle between two sides, from a t-or-s multiple of e and f."""
        (weight_e, wide_e), (weight_f, wide_f) = of_e, of_f
        along = xp.abs(weight_e * along_e + weight_f * along_f) + wide_e * size_e + wide_f * size_f
        along += (weight_e + wide_e) * (loose * size_e + fine)
        along += (weight_f + wide_f) * (loose * size_f + fine)
        others = (number < known.count) & (number != place)
        into = xp.where(others, along / xp.where(apart > 0, apart, 1), 0)
        into = xp.where(others & (apart == 0), np.inf, into)
        return xp.sum(into**2, axis=1, keepdims=True) + far**2

    exact, of_t, of_s = known.beyond, (t, 0 * t), (middle, width)
    clear = xp.maximum((t - exact) * (t + exact), 0)
    whole_e, whole_f = size_e + fine, size_f + fine
    far_y, far_x = ((exact * whole_e + t * whole_f), (t * whole_e + exact * whole_f))
    far_y, far_x = (xp.where(clear > 0, far / clear, np.inf) for far in (far_y, far_x))
    of_y, of_x = turned(of_s, of_t, far_y), turned(of_t, of_s, far_x)
    own = xp.abs(xp.sum(xp.where(number == place, along_e, 0), axis=1, keepdims=True))
    own += xp.sum(xp.where(number == place, loose, 0), axis=1, keepdims=True) * size_e + fine
    # From s (v . y) - t (u . x) = u . e; cosines are at least 0.7.
    small = (of_y <= 0.5) & (of_x <= 0.5)
    of_y, of_x = xp.where(small, of_y, 0), xp.where(small, of_x, 0)
    value = (own + t * xp.maximum(of_y, of_x)) / xp.sqrt(1 - of_y)
    cosines = xp.sqrt((1 - of_y) * (1 - of_x))
    turn = xp.sqrt(2 * (of_y + of_x - of_y * of_x) / (1 + cosines))
    bound = xp.hypot(value, xp.sqrt(t * (t + value)) * turn)
    return xp.where(small, bound, np.inf)[:, 0]
