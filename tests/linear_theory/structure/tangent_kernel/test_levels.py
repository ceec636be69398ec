"""Kernels of levels are those of the network's Jacobian, and steps are those of its gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.structure.tangent_kernel import levels
from linear_theory.structure.tangent_kernel.claims_levels import draw_networks


def test_kernel_and_step_are_those_of_automatic_derivatives():
    network = draw_networks(jax.random.key(0), 1)
    weight, outer, rows, inputs = (part[0] for part in network[:4])
    count, b = len(rows), np.random.default_rng(0).standard_normal((len(rows), 4))

    with jax.enable_x64(True):

        def level(own, k):
            """f_k, of which only component k carries a derivative."""
            change = sum(jnp.outer(b[j], rows[j]) for j in range(k)) + jnp.outer(*own)
            return (outer @ jnp.tanh((weight + change) @ inputs)).ravel()

        def all_levels(theta):
            changes = jnp.cumsum(jnp.einsum("kh,kd->khd", *theta), axis=0)
            return jnp.stack([(outer @ jnp.tanh((weight + c) @ inputs)).ravel() for c in changes])

        def flat(jacobian):
            return np.concatenate([np.asarray(part) for part in jacobian], axis=-1)

        whole = flat(jax.jacobian(all_levels)((b, rows)))  # (k, oN, j, h + d)
        own = [flat(jax.jacobian(level)((b[k], rows[k]), k)) for k in range(count)]
        wanted = np.block([[whole[k, :, j] @ own[j].T for j in range(count)] for k in range(count)])
        got = levels.kernel(network, b[None], rows[None])[0]
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)

    # One step from b = 0 moves the residuals by the kernel of the start, to first order.
    eta = np.array([1e-6])
    path = levels.descend(network, eta, np.zeros((1, 1, count, count), int))
    before, after = path.residuals.reshape(2, -1)
    start = levels.kernel(network, np.zeros_like(b)[None], rows[None])[0]
    np.testing.assert_allclose((after - before) / eta, -start @ before, rtol=1e-4, atol=1e-8)


def test_delays_change_nothing_for_the_first_level():
    network = draw_networks(jax.random.key(1), 2)
    eta, delays = np.full(2, 0.1), np.zeros((2, 9, 2, 2), int)
    fresh, late = (levels.descend(network, eta, d).residuals for d in (delays, delays + 3))
    np.testing.assert_array_equal(fresh[:, :, 0], late[:, :, 0])
    assert np.abs(fresh[-1, :, 1] - late[-1, :, 1]).max() > 0
