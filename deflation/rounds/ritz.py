"""What is measured of published components: one Rayleigh-Ritz step around them, and residuals.

The part of a certificate that takes products with M; bounds.py draws the conclusions from its few
numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.components import (
    Components,
    distances,
    generic,
    normalise,
    norms,
    product,
    row_norm,
)
from deflation.problem.targets import (
    Scaled,
    Target,
    entries,
    on_host,
    times,
    times_transposed,
)
from deflation.problem.units import host_unit_of, unit_of
from deflation.rounds.residuals import Along, Triplets, along
from rankwise import checks
from rankwise.compiling import jit_quickly

SMALL = 64  # sides up to this are searched as a whole
BLOCK, DEPTH = 3, 6  # elsewhere a block Krylov space beside the components


class Measured(NamedTuple):
    """Of r published components and the first p = min(r + 1, searched) Ritz triplets of M.

    All in units of `unit`, so that squares stay in range; a power of two, so that none is rounded.

    Attributes:
      unit: of the largest Ritz value.
      values: Ritz values t_i, largest first (p,).
      residuals: |M y_i - t_i x_i| + |M^T x_i - t_i y_i| (p,).
      sizes: norms of the published components (r,).
      usable: whether all of their entries are finite (r,).
      apart: distances of the published components from the Ritz triplets (r,).
      sum_apart: distance of the sum of the kept ones from that of as many Ritz triplets.
      along: residuals of the published components themselves, and along the Ritz triplets.
      square: ||M||_F^2; None of an operator.
    """

    unit: jax.Array
    values: jax.Array
    residuals: jax.Array
    sizes: jax.Array
    usable: jax.Array
    apart: jax.Array
    sum_apart: jax.Array
    along: Along
    square: jax.Array | None


def searches_all(shape: tuple[int, int], rank: int) -> bool:
    """Whether no direction of the shorter side is left out."""
    return min(shape) <= max(SMALL, rank + BLOCK * DEPTH)


def measure(target: Target, factors: Components, kept: jax.Array) -> Measured:
    """Rayleigh-Ritz in the space of the components and some directions more.

    Where min(m, d) is small the whole space is searched. Else the components and a small block
    Krylov space of M^T M off them, from the directions in which their residuals point (a nearly
    tied one that they miss is among these, however small the residual is) and a random one: 3 r +
    37 products with M and 2 r + 21 with M^T of an operator, 2 r more of each of an array, of which
    two copies are made; the other way round for m < d. Where the whole is searched, min(m, d) + 2 r
    + 1 and 2 r + 1.

    Args:
      target: M (m, d).
      factors: canonical and whitened, largest first, b (r, m), a (r, d).
      kept: how many of them are meant, the others are only searched.

    Returns:
      Of an array in a CPU's memory by numpy: its program would take most of a first call to trace
      and compile. Else by `program`.
    """
    host = on_host(target)
    if host is None or checks.traced((factors, kept)):
        return program(target, factors, kept)
    factors = Components(*map(np.asarray, factors))
    with np.errstate(all="ignore"):  # NaN in factors is a case of it
        return _measured(np, host, factors, np.asarray(kept))


def _measured(xp, target: Target, factors: Components, kept) -> Measured:
    m, d = target.shape
    rank = factors.a.shape[0]
    forward, backward, sides = times, times_transposed, factors
    if m < d:  # from the shorter side
        forward, backward, sides = times_transposed, times, Components(factors.a, factors.b)
    finite = Components(*(xp.where(xp.isfinite(rows), rows, 0) for rows in sides))
    if searches_all(target.shape, rank):
        basis = xp.eye(min(m, d), dtype=target.dtype)
    else:
        basis = _searched(xp, target, finite, forward, backward)
    images = forward(target, basis)
    left = _orthonormal(xp, images)
    turn, values, back = _triplets(xp, product(images, left.T, xp))
    count = min(rank + 1, basis.shape[0])  # no other is looked at
    values = values[:count]
    y, x = (
        normalise(product(rows[:count], others, xp), xp)
        for rows, others in ((turn.T, basis), (back, left))
    )
    # Measured, so that what rounding did to the bases and to the decomposition is in them.
    residuals = (
        row_norm(forward(target, y) - values[:, None] * x, xp)
        + row_norm(backward(target, x) - values[:, None] * y, xp)
    )[:, 0]
    ritz = Components(values[:, None] * x, y)
    unit = (host_unit_of if xp is np else unit_of)(values)
    finite, ritz = (Components(pair.b / unit, pair.a) for pair in (finite, ritz))
    sizes, directions = norms(finite, xp), (normalise(rows, xp) for rows in finite)
    near, own = Triplets(values, x, y), Triplets(sizes, *directions)
    if m < d:
        near, own = near.transposed(), own.transposed()
    near = Triplets(*(rows[:rank] for rows in near))
    array = entries(target)
    return Measured(
        unit=unit,
        values=values / unit,
        residuals=residuals / unit,
        sizes=sizes,
        usable=xp.all(xp.isfinite(factors.b), axis=1) & xp.all(xp.isfinite(factors.a), axis=1),
        apart=distances(finite, Components(*(rows[:rank] for rows in ritz)), xp),
        sum_apart=_sum_apart(xp, finite, ritz, basis, kept),
        along=along(Scaled(target, 1 / unit), own, near, xp),
        square=None if array is None else xp.sum(xp.sum((array / unit) ** 2, axis=1)),
    )


@jit_quickly
def program(target: Target, factors: Components, kept: jax.Array) -> Measured:
    """`measure` by JAX."""
    return _measured(jnp, target, factors, kept)


def _searched(xp, target, sides: Components, forward, backward) -> jax.Array:
    """Orthonormal rows (r + BLOCK DEPTH, .): the components, and the Krylov space off them."""
    rank, side = sides.a.shape
    known = _orthonormal(xp, normalise(sides.a, xp))
    # From the last component, next to which something may have been missed, and a mixture of all.
    unit = normalise(sides.b, xp)
    mixture = product(generic((BLOCK - 2, rank), unit.dtype, xp), unit, xp)
    pointing = backward(target, xp.concatenate([unit[-1:], mixture]))
    block = xp.concatenate([pointing, generic((1, side), unit.dtype, xp)])
    basis = xp.concatenate([known, xp.zeros((BLOCK * DEPTH, side), unit.dtype)])

    def extend(step, carry):
        basis, block = carry
        for _ in range(2):  # the second time only rounding is projected off
            block = normalise(block - product(product(block, basis.T, xp), basis, xp), xp)
        block = _orthonormal(xp, block)
        place = rank + BLOCK * step
        if xp is np:
            basis[place : place + BLOCK] = block
        else:
            basis = jax.lax.dynamic_update_slice(basis, block, (place, 0))
        return basis, backward(target, normalise(forward(target, block), xp))

    carry = basis, block
    if xp is np:
        for step in range(DEPTH):
            carry = extend(step, carry)
    else:
        carry = jax.lax.fori_loop(0, DEPTH, extend, carry)
    # Once more at the end: what was next to nothing off the basis is not orthogonal to it.
    return _orthonormal(xp, carry[0])


def _orthonormal(xp, rows: jax.Array) -> jax.Array:
    """Orthonormal rows whose leading ones span the leading rows, of whatever rank these are."""
    return xp.linalg.qr(rows.T)[0].T


def _triplets(xp, matrix: jax.Array):
    """Its singular value decomposition; NaN of one that is not finite, as by JAX."""
    try:
        return xp.linalg.svd(matrix)
    except np.linalg.LinAlgError:
        nothing = np.full_like(matrix, np.nan)
        return nothing, nothing[0], nothing


def _sum_apart(xp, sides: Components, ritz: Components, basis, kept) -> jax.Array:
    """||sum_k R_k - sum_i t_i x_i y_i^T||_F of the kept ones, in the basis that both lie in."""

    def coordinates(components):
        among = (xp.arange(components.a.shape[0]) < kept)[:, None]
        kept_b = xp.where(among, components.b, 0)
        return product(kept_b.T, product(components.a, basis.T, xp), xp)

    difference = coordinates(sides) - coordinates(ritz)
    return row_norm(row_norm(difference, xp).T, xp)[0, 0]
