"""Validation at the public boundary: each message names the argument, the value, what is allowed.

Values that are being traced (under jit, vmap or grad) have a shape and a dtype but no entries;
for them the entry checks are left to `Status.NOT_FINITE` at the end of the run.
"""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def traced(*values: Any) -> bool:
    """True if any leaf of the values is a tracer."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def array(name: str, value: Any):
    """`value` as a numpy or jax matrix of finite real numbers, entries and dtype untouched.

    Raises:
      ValueError: not numeric, complex, not two-dimensional, empty, NaN or infinity.
    """
    value = _numeric(name, value)
    if value.ndim != 2:
        raise ValueError(f"{name} has shape {value.shape}; allowed is a matrix (two axes)")
    if 0 in value.shape:
        raise ValueError(f"{name} has shape {value.shape}; allowed is a matrix that is not empty")
    if not traced(value) and not _truth(lambda xp: xp.isfinite(value).all(), value):
        raise ValueError(f"{name} contains NaN or infinity; allowed are finite numbers")
    return value


def matrix(name: str, value: Any) -> jax.Array:
    """`array` as a jax array of a floating type, see `float_dtype`."""
    value = array(name, value)
    return jnp.asarray(value, float_dtype(value.dtype))


def float_dtype(dtype) -> np.dtype:
    """The dtype a run has on data of `dtype`: integers and booleans become the default float, and
    float64 stays so only under `jax.enable_x64`."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    return jax.dtypes.canonicalize_dtype(dtype if floating else jnp.zeros(()).dtype)


def _numeric(name: str, value: Any):
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} is not a rectangular array ({error})") from None
    if jnp.issubdtype(value.dtype, jnp.complexfloating):
        raise ValueError(f"{name} has dtype {value.dtype}; allowed are real numbers")
    if value.dtype != bool and not jnp.issubdtype(value.dtype, jnp.number):
        raise ValueError(f"{name} has dtype {value.dtype}; allowed are real numbers")
    return value


def _truth(test, value) -> bool:
    """test(namespace) of a concrete value where it lies, also while something else is traced."""
    if not isinstance(value, jax.Array):
        return bool(test(np))
    with jax.ensure_compile_time_eval():
        return bool(test(jnp))


def columns_match(x, y) -> None:
    """Raises ValueError unless x (d, n) and y (m, n) have the same number of columns."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has shape {x.shape} and y has shape {y.shape}; "
            "allowed is the same number of columns"
        )


def not_all_zero(name: str, value) -> None:
    """Raises ValueError if every entry of a concrete value is zero."""
    if not traced(value) and not _truth(lambda xp: xp.any(value), value):
        raise ValueError(f"{name} is all zeros; allowed is a target with something to learn")


def integer(name: str, value: Any, least: int, most: int | None = None, why: str = "") -> int:
    """`value` as an int between `least` and `most`.

    Raises:
      ValueError: not an integer, or outside the range.
    """
    limit = f"integers >= {least}" if most is None else f"integers from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} is {value!r}; allowed are {limit}{why}") from None
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {value!r}; allowed are {limit}{why}")
    return number


def positive(name: str, value: Any, *, zero: bool = False) -> None:
    """Raises ValueError unless a concrete number is finite and > 0 (>= 0 when `zero`)."""
    if traced(value):
        return
    allowed = "numbers >= 0" if zero else "numbers > 0"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; allowed are {allowed}") from None
    if not np.isfinite(number) or number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} is {value!r}; allowed are {allowed}")


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless value is one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed are {', '.join(map(repr, allowed))}")
