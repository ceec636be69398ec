"""Arrays of a model with their changes added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Change
from finetune.host.modules import Module
from finetune.peft.merging import changed_kernel

LOST = 0.01
"""Share of a change that may be rounded away."""


def changed(
    arrays: Mapping[str, jax.Array],
    modules: Mapping[str, Module],
    changes: Mapping[str, Change],
    dtype: Any = None,
) -> dict[str, jax.Array]:
    """Array name -> W + D in float64, rounded once, of the arrays that have a change.

    Args:
      changes: path -> the change of that kernel.
      dtype: of the result; None for the array's own, if that keeps the change.

    Raises:
      ValueError: the array's own dtype does not; a dtype that is none of floating numbers.
    """
    if dtype is not None:
        _require_floating(dtype)
    merged = {}
    before = after = 0.0  # |D|^2, and |rounding of W + D|^2
    for name, module in modules.items():
        if not any(path in changes for path in module.paths):
            continue
        kernels, exact = [], []
        for number, path in enumerate(module.paths):
            kernel = np.asarray(module.kernel(arrays[name], number), np.float64)
            new = changed_kernel(kernel, changes[path]) if path in changes else kernel
            before += float(np.sum((new - kernel) ** 2))
            exact.append(new)
            kernels.append(jnp.asarray(new, dtype or module.dtype))
            after += float(np.sum((np.asarray(kernels[-1], np.float64) - new) ** 2))
        merged[name] = module.whole(kernels)
    if dtype is None and after > LOST**2 * before > 0:
        kinds = sorted({modules[name].dtype.name for name in merged})
        lost = f"{', '.join(kinds)} kernels would lose {(after / before) ** 0.5:.0%} of the change"
        if "float32" in kinds:
            raise ValueError(f"{lost}, which is small: train further, or give merge jnp.float32")
        raise ValueError(f"{lost}; give merge a dtype, such as jnp.float32")
    return merged


def _require_floating(dtype: Any) -> None:
    try:
        floating = jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except TypeError:
        floating = False
    if not floating:
        raise ValueError(f"dtype is {dtype!r}; allowed are types of floating numbers")
