"""Gradients of a ReLU layer in the mean over Gaussian inputs, and what they say about a change.

Legend: y = relu(X W~) targets, W~ = W + Delta (d, k); columns w, w~ and delta = w~ - w; theta the
angle between w and w~. J_GLM = X^T (relu(X W~) - relu(X W))/N, the direction of GLM-tron; J = X^T
((relu(X W~) - relu(X W)) * 1(X W > 0))/N minus the gradient of 1/(2N) ||relu(X W) - y||_F^2.
Expectations are over X with independent standard Gaussian rows. Columns are last axes here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from linear_theory.adaptation.linear_teacher import Array


def glm_direction(x: Array, weights: Array, targets: Array) -> Array:
    """J_GLM = X^T (Y - relu(X W))/N.

    Args:
      x: (..., N, d). weights: W (..., d, k). targets: Y (..., N, k).

    Returns:
      (..., d, k); its mean is Delta/2 exactly, by Stein's identity.

    Source: arXiv 2502.01235, section 4; the talk's J_W has X^T/N inside the bracket.

    Example:
      >>> import numpy as np
      >>> glm_direction(np.eye(1), np.array([[-1.0]]), np.array([[2.0]])).item()
      2.0
    """
    return x.mT @ (targets - (x @ weights).clip(0)) / x.shape[-2]


def relu_direction(x: Array, weights: Array, targets: Array) -> Array:
    """J = X^T ((Y - relu(X W)) * 1(X W > 0))/N, minus the gradient.

    Takes and returns what `glm_direction` does. Source: the derivative of relu.

    Example:
      >>> import numpy as np
      >>> abs(relu_direction(np.eye(1), np.array([[-1.0]]), np.array([[2.0]])).item())
      0.0
    """
    before = x @ weights
    return x.mT @ ((targets - before.clip(0)) * (before > 0)) / x.shape[-2]


@jax.jit
def mean_relu_direction(weights: jax.Array, teacher: jax.Array) -> jax.Array:
    """E J = ((pi - theta) w~ + ||w~|| sin(theta) w/||w||)/(2 pi) - w/2, column by column.

    Args:
      weights: columns w as last axes, (..., d), not zero.
      teacher: w~ (..., d).

    Returns:
      (..., d).

    Source: first-order arc-cosine kernel, Cho and Saul 2009, equations 3 to 6.

    Example:
      >>> mean_relu_direction(jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])).round(6).tolist()
      [1.0, 0.0]
    """
    theta, sine, size = _angle(weights, teacher)
    direction = weights / jnp.linalg.norm(weights, axis=-1, keepdims=True)
    both = (jnp.pi - theta) * teacher + size * sine * direction
    return both / (2 * jnp.pi) - weights / 2


@jax.jit
def relative_bias_bound(weights: jax.Array, teacher: jax.Array) -> jax.Array:
    """||E J - delta/2||/||delta/2|| <= sqrt(1 + pi^2/4) 2 theta/pi^2 for theta <= pi/2.

    Proof: the bias is (w~ part) ||w~|| (sin^2 theta - 2 theta sin theta cos theta + theta^2)^{1/2}
    /(2 pi), and ||w~|| sin theta <= ||delta||; the root over theta sin theta increases up to
    theta = pi/2, where it is (1 + pi^2/4)^{1/2} 2/pi.

    So "E G = Delta/2" holds for the gradient to first order in ||delta||/||w|| alone.

    Args:
      weights: w (..., d). teacher: w~ (..., d).

    Returns:
      (...), for theta <= pi/2.

    Source: proved above; condition for arXiv 2502.01235, section 4.

    Example:
      >>> round(relative_bias_bound(jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0])).item(), 4)
      0.2964
    """
    theta, _, _ = _angle(weights, teacher)
    return jnp.sqrt(1 + jnp.pi**2 / 4) * 2 / jnp.pi**2 * theta[..., 0]


def fluctuation(d: int, samples: int) -> float:
    """E ||J_GLM - Delta/2||_F^2/||Delta/2||_F^2 = (2 d + 3)/N for ||delta|| << ||w||.

    Proof: a sample is x (delta.x) 1(w.x > 0), with second moment E ||x||^2 (delta.x)^2 1(w.x > 0) =
    (d + 2) ||delta||^2/2.

    Args:
      d: dimension of the inputs. samples: N.

    Source: proved above.

    Example:
      >>> fluctuation(30, 6300)
      0.01
    """
    return (2 * d + 3) / samples


def largest_fluctuation(d: int, samples: int) -> float:
    """(4 d + 7)/N, above the `fluctuation` of changes of any size.

    Proof: |relu(w~.x) - relu(w.x)| <= |delta.x|, so that a sample has a second moment of at most
    E ||x||^2 (delta.x)^2 = (d + 2) ||delta||^2, less the square of its mean, ||delta||^2/4.

    Source: proved above.

    Example:
      >>> largest_fluctuation(2, 15)
      1.0
    """
    return (4 * d + 7) / samples


def _angle(weights, teacher):
    """theta, sin theta and ||w~||, each (..., 1), accurate for small angles."""
    size = jnp.linalg.norm(teacher, axis=-1, keepdims=True)
    direction = weights / jnp.linalg.norm(weights, axis=-1, keepdims=True)
    along = jnp.sum(direction * teacher, axis=-1, keepdims=True)
    across = jnp.linalg.norm(teacher - along * direction, axis=-1, keepdims=True)
    return jnp.arctan2(across, along), across / size, size
