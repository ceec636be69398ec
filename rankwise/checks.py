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

FLOATS = ("float32", "float64")


def traced(*values: Any) -> bool:
    """True if any leaf of the values is a tracer."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(values))


def on_host(value: Any) -> Any:
    """The value as an array of numpy, unless it is traced: there single operations are compiled."""
    return value if traced(value) else np.asarray(value)


def shown(value: Any) -> str:
    """The value in a message: one line, cut short."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def array(name: str, value: Any):
    """`value` as a numpy or jax matrix of finite real numbers, entries and dtype untouched.

    Raises:
      ValueError: not numeric, complex, of half precision, not two-dimensional, empty, NaN or
        infinity.
    """
    value = _numeric(name, value)
    if value.ndim != 2:
        raise ValueError(f"{name} has shape {value.shape}; allowed is a matrix (two axes)")
    if 0 in value.shape:
        raise ValueError(f"{name} has shape {value.shape}; allowed is a matrix that is not empty")
    if not traced(value) and not truth(_all_finite, value):
        raise ValueError(f"{name} contains NaN or infinity; allowed are finite numbers")
    return value


def matrix(name: str, value: Any, dtype=None) -> jax.Array:
    """`array` as a jax array of a floating type: `dtype`, or that of `float_dtype`.

    Raises:
      ValueError: as `array`; entries that the type cannot hold.
    """
    value = array(name, value)
    dtype = float_dtype(value.dtype) if dtype is None else dtype
    in_range(name, value, dtype)
    return jnp.asarray(value, dtype)


def in_range(name: str, value, dtype) -> None:
    """Raises ValueError if entries of a concrete value overflow when it is cast to `dtype`."""
    if np.can_cast(value.dtype, dtype):  # another look at all entries would find nothing
        return
    limit = float(jnp.finfo(dtype).max)
    if not traced(value) and not truth(_all_below, value, limit):
        raise ValueError(f"{name} exceeds the range of {np.dtype(dtype)}; allowed is what fits it")


def float_dtype(dtype) -> np.dtype:
    """The dtype a run has on data of `dtype`: integers and booleans become the default float, and
    float64 stays so only under `jax.enable_x64`."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    return jax.dtypes.canonicalize_dtype(dtype if floating else jnp.zeros(()).dtype)


def _numeric(name: str, value: Any):
    if is_sparse(value):
        raise ValueError(
            f"{name} is a sparse matrix; allowed are dense arrays: pass {name}.toarray(), or "
            "give a sparse target alone to Regression.from_matrix"
        )
    if np.ma.is_masked(value):
        raise ValueError(
            f"{name} is a masked array with hidden entries; allowed are arrays that are known whole"
        )
    if not isinstance(value, jax.Array):
        try:
            value = np.asarray(value)
        except (ValueError, TypeError):
            raise ValueError(f"{name} is {shown(value)}; allowed is a rectangular array") from None
    dtype = value.dtype
    # Random keys have a dtype without a kind.
    if getattr(dtype, "kind", "O") not in "iub" and dtype.name not in FLOATS:
        raise ValueError(
            f"{name} has dtype {dtype}; allowed are real numbers, {' and '.join(FLOATS)}"
        )
    if isinstance(value, np.ndarray) and not dtype.isnative:
        value = value.astype(dtype.newbyteorder("="))
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value


def is_sparse(value: Any) -> bool:
    """Whether it is a matrix or array of scipy.sparse, which all have this method."""
    return hasattr(value, "tocoo")


def _all_finite(xp, value):
    return xp.isfinite(value).all()


def _all_below(xp, value, limit):
    return (xp.abs(value) <= limit).all()


def _any(xp, value):
    return xp.any(value)


def truth(test, value, *others) -> bool:
    """test(namespace, value, *others) of a concrete value where it lies, also in a trace.

    In a CPU's memory numpy looks at it: there it need not be copied, and nothing is compiled.
    """
    if not isinstance(value, jax.Array):
        return bool(test(np, value, *others))
    if in_memory(value):
        return bool(test(np, np.asarray(value), *others))
    # As one program where it is cut over processes: it may be all that their memory holds.
    run = _on_device if value.is_fully_addressable else _compiled
    with jax.ensure_compile_time_eval():
        return bool(run(test, value, *others))


def _on_device(test, value, *others):
    return test(jnp, value, *others)


_compiled = jax.jit(_on_device, static_argnums=0)


def in_memory(value) -> bool:
    """Whether it is a concrete array in a CPU's memory, whole, where numpy sees it."""
    if isinstance(value, np.ndarray):
        return True
    if not isinstance(value, jax.Array) or traced(value) or not value.is_fully_addressable:
        return False
    # One that is cut is larger than a device should hold.
    return value.is_fully_replicated and all(one.platform == "cpu" for one in value.devices())


def columns_match(x, y) -> None:
    """Raises ValueError unless x (d, n) and y (m, n) have the same number of columns."""
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"x has shape {x.shape} and y has shape {y.shape}; allowed is the same number of "
            "columns, one per sample: pass x.T and y.T where samples are rows"
        )


def not_all_zero(name: str, value) -> None:
    """Raises ValueError if every entry of a concrete value is zero."""
    if not traced(value) and not truth(_any, value):
        raise ValueError(f"{name} is all zeros; allowed is a target with something to learn")


def instance(name: str, value: Any, kind: type | tuple[type, ...], allowed: str) -> None:
    """Raises ValueError unless value is of that kind."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} is {shown(value)}; allowed is {allowed}")


def integer(name: str, value: Any, least: int, most: int | None = None, why: str = "") -> int:
    """`value` as an int between `least` and `most`.

    Raises:
      ValueError: not an integer, or outside the range.
    """
    if most is not None and most < least:
        raise ValueError(f"{name} is {shown(value)}; none is allowed, as the most is {most}{why}")
    limit = f"integers >= {least}" if most is None else f"integers from {least} to {most}"
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    outside = number is None or number < least or (most is not None and number > most)
    if isinstance(value, bool) or outside:
        raise ValueError(f"{name} is {shown(value)}; allowed are {limit}{why}")
    return number


def positive(name: str, value: Any, *, zero: bool = False) -> None:
    """Raises ValueError unless a concrete number is finite and > 0 (>= 0 when `zero`)."""
    if traced(value):
        return
    allowed = "numbers >= 0" if zero else "numbers > 0"
    number = real(name, value, allowed)
    if number < 0 or (number == 0 and not zero):
        raise ValueError(f"{name} is {shown(value)}; allowed are {allowed}")


def real(name: str, value: Any, allowed: str = "finite numbers") -> float:
    """`value` as a finite float; text, arrays and complex numbers are no numbers.

    Raises:
      ValueError: anything else.
    """
    scalar = not isinstance(value, str | bytes | complex) and np.ndim(value) == 0
    try:
        number = float(value) if scalar else np.nan
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{name} is {shown(value)}; allowed are {allowed}")
    return number


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Raises ValueError unless value is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {shown(value)}; allowed are {', '.join(map(repr, allowed))}")


def flag(name: str, value: Any) -> bool:
    """`value` as a bool; raises ValueError for anything that is not True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {shown(value)}; allowed are True and False")
    return bool(value)


def random_key(name: str, value: Any) -> jax.Array:
    """A single typed key; raises ValueError for anything else."""
    typed = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not typed or value.ndim:
        raise ValueError(f"{name} is {shown(value)}; allowed is one key made by jax.random.key")
    return value
