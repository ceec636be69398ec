"""Compiled functions for claims: numpy arrays in and out, one instance at a time.

A claim is a few operations on arrays of a few numbers. Left to JAX, each of them is compiled for
each shape, which takes longer than all the rest; so what is not worth compiling is left to numpy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax


def compiled(function: Callable) -> Callable:
    """The function under `jax.jit`, with its results as numpy arrays.

    Example:
      >>> compiled(lambda x: x + 1)(jax.numpy.arange(3))
      array([1, 2, 3], dtype=int32)
    """
    jitted = jax.jit(function)

    @functools.wraps(function)
    def call(*arguments):
        return jax.device_get(jitted(*arguments))

    return call


def per_instance(function: Callable) -> Callable:
    """Maps a function over the leading axis of all its arguments, compiled, one after the other.

    y[i] = f(x[i]) for arrays or pytrees of arrays, as numpy arrays.

    Not `jax.vmap`: in jaxlib 0.10.2 a factorisation of a large batch splits it over the CPU's
    thread pool and waits for the parts from within the pool. As many independent ones as there are
    threads (two, on two cores) wait for each other forever. Single ones never wait. A random
    generator is also compiled several times faster inside a loop than inside `vmap`.

    Raises:
      ValueError: from JAX, if leading axes differ.

    Example:
      >>> per_instance(lambda x: x + 1)(jax.numpy.arange(3)).tolist()
      [1, 2, 3]
    """

    @compiled
    @functools.wraps(function)
    def mapped(*batch):
        return jax.lax.map(lambda instance: function(*instance), batch)

    return mapped
