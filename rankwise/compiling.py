"""Programs of which compiling is most of the time: compiled quickly rather than well."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp

from rankwise import checks

# Products, decompositions and exchanges are libraries' own; what XLA makes for CPUs is loops over
# entries. Its newer emitters of these and its pool of threads take half of the time to compile and
# gave no faster loops; its optimisations take half of the rest, and loops run 2 to 4 times as fast.
QUICKLY = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


def jit_quickly(function: Callable, *, level: int = 0, **options) -> Callable:
    """`jax.jit` of a function whose program is compiled in a third of the time on CPUs.

    Within another program, and on other devices, it is `jax.jit`, whose `lower` it has; `programs`
    counts what is compiled. What XLA_FLAGS says goes first.

    Args:
      function, options: as of `jax.jit`.
      level: of XLA's optimisations: 0 for a program that runs about once, 1 (half of the time to
        compile, not a third) for one with loops over entries that have to be fast.

    Example:
      >>> @jit_quickly
      ... def double(x):
      ...     return 2 * x
      >>> int(double(3)), int(jax.jit(double)(3))
      (6, 6)
    """
    usual = jax.jit(function, **options)
    chosen = QUICKLY | {"xla_backend_optimization_level": level}

    @functools.cache
    def quick():
        left = known(chosen)
        return jax.jit(function, compiler_options=left, **options) if left else usual

    @functools.wraps(function)
    def call(*args, **kwargs):
        # Options are those of a whole program: jax refuses them in a part of one.
        if jax.default_backend() == "cpu" and not is_part_of_program((args, kwargs)):
            return quick()(*args, **kwargs)
        return usual(*args, **kwargs)

    call.lower = usual.lower
    call.programs = lambda: sum(each._cache_size() for each in {usual, quick()})
    return call


def flags(level: int = 0) -> str:
    """XLA_FLAGS of a process that compiles all its programs quickly: the present ones, and more.

    They are read when the first program is compiled, so they are for one that is yet to be started.
    """
    options = known(QUICKLY | {"xla_backend_optimization_level": level})
    texts = [f"--{name}={str(value).lower()}" for name, value in options.items()]
    return " ".join([*os.environ.get("XLA_FLAGS", "").split(), *texts])


def is_part_of_program(inputs) -> bool:
    """Whether what is computed of them here is traced, as they are or all around them is."""
    return isinstance(jnp.zeros(()), jax.core.Tracer) or checks.traced(inputs)


def known(options: dict) -> dict:
    """Those of XLA's options that the installed version has and XLA_FLAGS does not name: they come
    and go, and only the time to compile hangs on them."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = {name: value for name, value in options.items() if name not in flags}
    if options and _accepted(*options.items()):
        return options
    return {name: value for name, value in options.items() if _accepted((name, value))}


@functools.cache
def _accepted(*options: tuple) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
