"""The units of a run: its problem is solved in units of M's own size.

Squares leave the range of float32 below 1e-19 and above 1e19 (of float64 at 1e-154 and 1e154), and
solvers are made of squares. A State is in the units of the user; whatever computes with it enters
units in which the entries of M are of order 1, and leaves them with its results. The unit is a
power of four, so that neither it nor its square root rounds anything.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.targets import Scaled, Target, magnitude


def unit_of(target: Target) -> jax.Array:
    """The power of four next below the size of M; 1 for zero.

    The size is the largest entry of an array, and of an operator |M g| for a normal vector g, whose
    mean square is ||M||_F^2.
    """
    dtype = target.dtype
    size = magnitude(target)
    info = jnp.finfo(dtype)
    bits = jnp.int32 if info.bits == 32 else jnp.int64
    # The exponent by its bits: powers and logarithms are not exact on every device.
    bias, width = info.maxexp - 1, info.nmant
    exponent = (jax.lax.bitcast_convert_type(size, bits) >> width) - bias
    # Both the unit and its inverse are normal numbers.
    exponent = jnp.clip(exponent - exponent % 2, info.minexp, -info.minexp)
    unit = jax.lax.bitcast_convert_type((exponent + bias) << width, dtype)
    return jnp.where(size > 0, unit, jnp.ones((), dtype))


def host_unit_of(array: np.ndarray) -> np.ndarray:
    """`unit_of` of an array of numpy, by numpy."""
    size = np.max(np.abs(array))
    if not 0 < size < np.inf:
        return array.dtype.type(1)
    info = np.finfo(array.dtype)
    exponent = int(np.frexp(size)[1]) - 1
    exponent = min(max(exponent - exponent % 2, info.minexp), -info.minexp)
    return np.ldexp(array.dtype.type(1), exponent)


def scaled(problem, unit: jax.Array):
    """The problem of Y / unit; no copy of M is made."""
    target = Scaled(problem.target, 1 / unit)
    return problem._replace(target=target, unexplained=problem.unexplained / unit)


def enter(problem, solver, controls, progress):
    """All of a run in its own units, from those of the user."""
    unit, threshold = controls.unit, controls.threshold
    if threshold is not None:
        threshold = threshold / unit
    controls = controls._replace(threshold=threshold)
    return (
        scaled(problem, unit),
        solver.scaled(unit),
        controls,
        converted(solver, progress, 1 / unit),
    )


def converted(solver, progress, factor: jax.Array):
    """The progress with all its maps R_k multiplied by `factor`."""
    return progress._replace(
        factors=solver.multiplied(progress.factors, factor),
        past=solver.multiplied(progress.past, factor),
        moved=progress.moved * factor,
        earlier=progress.earlier * factor,
        sizes=progress.sizes * factor,
    )
