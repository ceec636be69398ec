"""Programs of which compiling is most of the time: compiled quickly rather than well."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

# XLA's optimisations and its newer emitters of fused loops take two thirds of a CPU's compile time.
# They help loops over entries; products, decompositions and exchanges are libraries' own.
QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def jit_quickly(function: Callable, **options) -> Callable:
    """`jax.jit` of a function that runs about once per compilation, or is all products.

    On CPUs its program is compiled in a third of the time. Within another program, and on other
    devices, it is `jax.jit`, whose `lower` it has.

    Args:
      function, options: as of `jax.jit`.

    Example:
      >>> @jit_quickly
      ... def double(x):
      ...     return 2 * x
      >>> int(double(3)), int(jax.jit(double)(3))
      (6, 6)
    """
    usual = jax.jit(function, **options)

    @functools.cache
    def quick():
        return jax.jit(function, compiler_options=known(QUICKLY), **options)

    @functools.wraps(function)
    def call(*args, **kwargs):
        # Options are those of a whole program: jax refuses them in a part of one.
        part = isinstance(jnp.zeros(()), jax.core.Tracer)
        inputs = jax.tree.leaves((args, kwargs))
        part = part or any(isinstance(leaf, jax.core.Tracer) for leaf in inputs)
        compiled = quick() if jax.default_backend() == "cpu" and not part else usual
        return compiled(*args, **kwargs)

    call.lower = usual.lower
    return call


def known(options: dict) -> dict:
    """Those of XLA's options that the installed version has: they come and go, and only the time
    to compile hangs on them."""
    if _accepted(*options.items()):
        return options
    return {name: value for name, value in options.items() if _accepted((name, value))}


@functools.cache
def _accepted(*options: tuple) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
