"""What an operator is given by: functions that JAX can carry, and their dtype."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rankwise import checks


def as_partial(function: Callable) -> jax.tree_util.Partial:
    """The function as a pytree."""
    # A Partial of a Partial would hide its arrays from JAX.
    wrap = jax.tree_util.Partial
    return function if isinstance(function, wrap) else wrap(function)


def operator_dtype(dtype) -> np.dtype:
    """The dtype of an operator's products, the default float where None; ValueError for others."""
    try:
        chosen = jnp.dtype(jnp.zeros(()).dtype if dtype is None else dtype)
    except TypeError:
        chosen = None
    if chosen is None or chosen.name not in checks.FLOATS:
        raise ValueError(f"dtype is {checks.shown(dtype)}; allowed are {checks.FLOATS}")
    return jax.dtypes.canonicalize_dtype(chosen)


def require_function(name: str, function: Callable, size: int, out: int, dtype) -> None:
    """Raises ValueError unless it maps a vector (size,) to one (out,), both of the dtype."""
    if not callable(function):
        raise ValueError(f"{name} is {checks.shown(function)}; allowed is a function")
    try:
        got = jax.eval_shape(function, jax.ShapeDtypeStruct((size,), dtype))
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name} takes no vector ({size},) of {dtype}: {reason}") from error
    if getattr(got, "shape", None) != (out,) or got.dtype != dtype:
        raise ValueError(
            f"{name} returns {checks.shown(got)}; allowed is an array ({out},) of {dtype}"
        )
