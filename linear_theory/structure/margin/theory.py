"""Deep linear classifiers: descent on the exponential loss ends at the maximum margin.

Legend: inputs x_i (d,), labels y_i = +-1; layers W_l, l = 1..L, the last with one row;
w = (W_L ... W_1)^T the direction of the product; Theta all layers, ||Theta||^2 = sum_l ||W_l||^2;
gamma the largest margin of a unit vector; loss sum_i exp(-y_i w^T x_i). Samples are passed as
rows z_i = y_i x_i, shape (..., n, d).
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.structure.deep_linear.theory import Layers, product


class Trained(NamedTuple):
    """Layers after training, and what the steps added to their imbalance.

    Attributes:
      layers: L arrays (..., d_l, d_{l-1}).
      drift: bound on the change of each W_{l+1}^T W_{l+1} - W_l W_l^T, Frobenius (...).
    """

    layers: Layers
    drift: jax.Array


@jax.jit
def least_margin(layers: Layers, signed: jax.Array) -> jax.Array:
    """min_i y_i w^T x_i, shape of the batch.

    Example:
      >>> least_margin((jnp.eye(2), jnp.ones((1, 2))), jnp.array([[1.0, 2.0], [0.0, 1.0]])).item()
      1.0
    """
    return jnp.min((product(layers) @ signed.mT)[..., 0, :], axis=-1)


@jax.jit
def margin_limit(margin: jax.Array, depth: jax.Array) -> jax.Array:
    """min_i y_i w^T x_i / ||Theta||^L <= gamma L^{-L/2}, and descent comes to equality.

    Equivalently the least ||Theta||^2 with all y_i w^T x_i >= 1 is L gamma^{-2/L}.
    Proof of the bound: min_i y_i w^T x_i <= gamma ||w||, ||w|| <= prod ||W_l||, and the product is
    at most (||Theta||^2/L)^{L/2}.

    Source: arXiv 2503.19859, theorem 3 and (30), evaluated for linear layers.

    Example:
      >>> margin_limit(0.5, 2).item()
      0.25
    """
    return margin * jnp.asarray(depth) ** (-jnp.asarray(depth) / 2)


@functools.partial(jax.jit, static_argnames="steps")
def separate(layers: Layers, signed: jax.Array, step_size: jax.Array, steps: int) -> Trained:
    """Descent on log sum_i exp(-y_i w^T x_i), W_l <- W_l - eta ||Theta||^{2-2L} grad_l.

    The logarithm changes the speed, not the direction, of descent on the exponential loss; the
    power keeps the steps of w of one size, so that ||w|| grows linearly.

    Args:
      layers: the start. signed: z_i (..., n, d). step_size: eta (...). steps: how many.

    Source: arXiv 2503.19859, theorem 3; arXiv 1906.05890 for the logarithm.

    Example:
      >>> end = separate((jnp.eye(1), jnp.eye(1)), jnp.ones((1, 1)), 0.5, 1)
      >>> [layer.item() for layer in end.layers], end.drift.item()
      ([1.25, 1.25], 0.125)
    """
    power = 1 - len(layers)
    axes = (-1, -2)

    def loss(state):
        return jnp.sum(jax.nn.logsumexp(-(product(state) @ signed.mT)[..., 0, :], axis=-1))

    def step(_, trained):
        state, drift = trained
        energy = sum(jnp.sum(layer**2, axis=axes) for layer in state)
        eta = step_size * energy**power
        slopes = jax.grad(loss)(state)
        moved = jax.tree.map(lambda w, g: w - eta[..., None, None] * g, state, slopes)
        # Each imbalance changes by eta^2 (G_{l+1}^T G_{l+1} - G_l G_l^T).
        change = eta**2 * sum(jnp.sum(slope**2, axis=axes) for slope in slopes)
        return moved, drift + change

    start = jnp.zeros(layers[0].shape[:-2], layers[0].dtype)
    return Trained(*jax.lax.fori_loop(0, steps, step, (layers, start)))


def imbalance_bound(start: Layers, drift: np.ndarray) -> np.ndarray:
    """||W_k||^2 - ||W_k||_2^2 <= sum_{l>=k} (||D_l||_2 - tr D_l), k = 1..L-1, at any time.

    D_l = W_{l+1}^T W_{l+1} - W_l W_l^T, which gradient flow keeps and steps change by at most
    `drift`. So the layers come to rank one as they grow. Proof: ||W_k||^2 = ||W_L||^2 - sum tr D_l,
    ||W_k||_2^2 >= ||W_{k+1}||_2^2 - ||D_k||_2, and the last layer has one row.

    Args:
      start: the layers before training. drift: of `Trained` (...).

    Returns:
      (..., L - 1); computed by numpy.

    Source: arXiv 1810.02032, lemma 2.6; with steps of finite size here.

    Example:
      >>> imbalance_bound((np.eye(2), np.ones((1, 2))), np.zeros(())).tolist()
      [1.0]
    """
    terms = []
    for before, after in itertools.pairwise(start):
        excess = after.mT @ after - before @ before.mT
        trace = np.trace(excess, axis1=-2, axis2=-1)
        width = excess.shape[-1]
        # A change E of D adds at most ||E||_2 + |tr E|.
        terms.append(
            np.linalg.norm(excess, 2, axis=(-2, -1)) - trace + (1 + np.sqrt(width)) * drift
        )
    return np.cumsum(np.stack(terms, axis=-1)[..., ::-1], axis=-1)[..., ::-1]
