"""One function of one instance, mapped over a batch of them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax


def per_instance(function: Callable) -> Callable:
    """Maps a function over the leading axis of all its arguments, compiled, one after the other.

    y[i] = f(x[i]) for arrays or pytrees of arrays; the result does not depend on the batch size.

    Not `jax.vmap`: on CPU a batched factorisation splits its batch over the thread pool and waits
    for it from within the pool. As many independent ones as there are threads (two, on two cores)
    wait for each other forever. Unbatched ones never wait. A random generator is also compiled
    several times faster inside a loop than inside `vmap`.

    Raises:
      ValueError: from JAX, if leading axes differ.

    Example:
      >>> per_instance(lambda x: x + 1)(jax.numpy.arange(3)).tolist()
      [1, 2, 3]
    """

    @jax.jit
    @functools.wraps(function)
    def mapped(*batch):
        return jax.lax.map(lambda instance: function(*instance), batch)

    return mapped
