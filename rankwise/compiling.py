"""Programs of which compiling is most of the time: compiled quickly rather than well."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
from jax.extend.core import get_opaque_trace_state

from rankwise import checks

# Products, decompositions and exchanges are libraries' own; what XLA makes for CPUs is loops over
# entries. Its newer emitters of these and its pool of threads take half of the time to compile and
# gave no faster loops; its optimisations take half of the rest, and loops run 2 to 4 times as fast.
# Sums over some hundred entries as a tree of loops are a third of the loops, and were slower.
QUICKLY = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
    "xla_disable_hlo_passes": "tree_reduction_rewriter",
}

# New objects before a search among the new ones; such searches before one among the older, and so
# on. By default 700, 10, 10. What a loop over large arrays drops must not wait for long.
OBJECTS = 20_000, 50, 100


def jit_quickly(function: Callable, *, level: int | Callable = 0, **options) -> Callable:
    """`jax.jit` of a function whose program is compiled in a third of the time on CPUs.

    Within another program, and on other devices, it is `jax.jit`, whose `lower` it has; `programs`
    counts what is compiled. What XLA_FLAGS says goes first.

    Args:
      function, options: as of `jax.jit`.
      level: of XLA's optimisations: 0 for a program that runs about once, 1 (half of the time to
        compile, not a third) for one with loops over entries that have to be fast; or a function of
        the arguments that says which.

    Example:
      >>> @jit_quickly
      ... def double(x):
      ...     return 2 * x
      >>> int(double(3)), int(jax.jit(double)(3))
      (6, 6)
    """
    usual, made = jax.jit(function, **options), {}

    def quick(level: int):
        if level not in made:
            left = known(QUICKLY | {"xla_backend_optimization_level": level})
            made[level] = jax.jit(function, compiler_options=left, **options) if left else usual
        return made[level]

    def programs() -> int:
        # JAX counts those of one function with any options together.
        ways = [each._cache_size() for each in made.values() if each is not usual]
        return usual._cache_size() + max(ways, default=0)

    @functools.wraps(function)
    def call(*args, **kwargs):
        # Options are those of a whole program: jax refuses them in a part of one.
        if jax.default_backend() == "cpu" and not is_part_of_program((args, kwargs)):
            chosen = level(*args, **kwargs) if callable(level) else level
            return quick(chosen)(*args, **kwargs)
        return usual(*args, **kwargs)

    call.lower = usual.lower
    call.programs = programs
    return call


def flags(level: int = 0) -> str:
    """XLA_FLAGS of a process that compiles all its programs quickly: the present ones, and more.

    They are read when the first program is compiled, so they are for one that is yet to be started.
    """
    options = known(QUICKLY | {"xla_backend_optimization_level": level})
    texts = [f"--{name}={str(value).lower()}" for name, value in options.items()]
    return " ".join([*os.environ.get("XLA_FLAGS", "").split(), *texts])


def collect_rarely() -> None:
    """For a process that traces more than it computes: fewer searches for unreachable objects.

    Tracing makes and drops small objects by the million, beside all those of the packages, which
    stay: to look through them again and again was 3 to 7% of the processor time of tests.

    Example:
      >>> collect_rarely()
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*OBJECTS)


def is_part_of_program(inputs) -> bool:
    """Whether what is computed of them here is traced, as they are or all around them is."""
    return get_opaque_trace_state(convention="jax") != _untraced() or checks.traced(inputs)


@functools.cache
def _untraced():
    # Of a thread of its own, which is inside no trace: the first call may be inside one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(get_opaque_trace_state, convention="jax").result()


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
