"""sum |D * dL/dD| of a change D of a kernel, returned as the cotangent of a scalar.

In y = x W + z D the gradient by D is z^T dL/dy, which a network with low-rank adapters never forms.
`tap` leaves y as it is; in the backward pass it forms D and z^T dL/dy of its own module and hands
the sum back as the "gradient" of its argument `probe`. So one backward pass gives the gradients and
the scores, and no more than one module's dense matrices are in memory at a time.

The sum is that of one call: for a module that is called several times in a forward pass (DeBERTa
projects tokens and relative positions with one kernel), and over the parts of an accumulated batch,
sums are added or averaged, which is at least the sum for the whole, as |u| + |v| >= |u + v|.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def tap(y: jax.Array, z: jax.Array, a: jax.Array, b: jax.Array, probe: jax.Array) -> jax.Array:
    """y, with sum |D * z^T dL/dy| for D = a b as the cotangent of `probe`.

    Args:
      y: (..., out), what the module returns. Passed on, and so is its cotangent.
      z: (..., in), what D acts on, after dropout.
      a, b: (in, R) and (R, out), scales folded in. They and z get no cotangent here.
      probe: scalar of any value, in the dtype that the sum shall have.

    Example:
      >>> x, a, b = jnp.ones((4, 2)), jnp.ones((2, 1)), jnp.ones((1, 3))
      >>> float(jax.grad(lambda p: jnp.sum(tap(x @ a @ b, x, a, b, p)))(0.0))
      24.0
    """
    del z, a, b, probe
    return y


def _forward(y, z, a, b, probe):
    return y, (z, a, b, probe)


def _backward(saved, dy):
    z, a, b, probe = saved
    exact = jax.lax.Precision.HIGHEST
    rows = math.prod(z.shape[:-1])
    gradient = jnp.matmul(
        z.reshape(rows, -1).T,
        dy.reshape(rows, -1),
        precision=exact,
        preferred_element_type=probe.dtype,
    )
    change = jnp.matmul(a, b, precision=exact).astype(probe.dtype)
    return dy, *map(jnp.zeros_like, (z, a, b)), jnp.sum(jnp.abs(change * gradient))


tap.defvjp(_forward, _backward)
