"""Weight decay on L linear layers as a penalty on the singular values of their product.

Legend: W_l, l = 1..L, the layers; M = W_L ... W_1, singular values s; phi the singular values of
the target; lam the weight decay; the objective 1/2 ||M - Phi||^2 + lam/2 sum_l ||W_l||^2 of
`deep_linear.objective`. Arrays broadcast; `depth` may be an array.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.instances.random_matrices import orthogonal

BISECTIONS = 80  # halvings of an interval: more than a float64 has bits


@jax.jit
def schatten_power(values: jax.Array, depth: jax.Array) -> jax.Array:
    """||M||_{2/L}^{2/L} = sum_i s_i^{2/L}, (...,) for values (..., K) and depth (...).

    Source: arXiv 2503.19859, corollary 1.

    Example:
      >>> schatten_power(jnp.array([4.0, 1.0]), 4).item()
      3.0
    """
    return jnp.sum(values ** (2 / jnp.asarray(depth)[..., None]), axis=-1)


@jax.jit
def least_energy(values: jax.Array, depth: jax.Array) -> jax.Array:
    """min 1/2 sum_l ||W_l||^2 over W_L ... W_1 = M is (L/2) ||M||_{2/L}^{2/L}.

    Source: arXiv 2503.19859, corollary 1 and (22), which print 2/L; the two agree at L = 2.

    Example:
      >>> least_energy(jnp.array([4.0, 1.0]), 4).item()
      6.0
    """
    return depth / 2 * schatten_power(values, depth)


def balanced_layers(rng: np.random.Generator, matrix: np.ndarray, depth: int, width: int):
    """Layers of least energy with the product M: W_{l+1}^T W_{l+1} = W_l W_l^T.

    Args:
      rng: for the bases of the hidden layers.
      matrix: M (..., m, n).
      depth: L >= 1. width: of the hidden layers, at least min(m, n).

    Returns:
      L arrays, the first layer (..., width, n) first; computed by numpy.

    Raises:
      ValueError: if the width is below min(m, n).

    Source: arXiv 2503.19859, proof of corollary 1.

    Example:
      >>> layers = balanced_layers(np.random.default_rng(0), 16 * np.eye(1), 2, 1)
      >>> [abs(layer.item()) for layer in layers]
      [4.0, 4.0]
    """
    count = min(matrix.shape[-2:])
    if width < count:
        raise ValueError(f"width is {width}; allowed are integers >= {count}, the rank of a matrix")
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    root = values[..., :, None] ** (1 / depth)
    layers, back = [], right
    for _ in range(depth - 1):
        frame = orthogonal(rng, *matrix.shape[:-2], width, count)
        layers.append(frame @ (root * back))
        back = np.swapaxes(frame, -1, -2)
    return (*layers, left @ (root * back))


@jax.jit
def soft_threshold(values: jax.Array, decay: jax.Array) -> jax.Array:
    """(phi - lam)_+, the singular values of the global minimiser of two layers.

    For the objective with 1/2 before the loss. With ||M - Phi||^2 in its place, as in (1), the
    threshold of the same penalty is lam/2.

    Source: arXiv 2503.19859, (26) for L = 2.

    Example:
      >>> soft_threshold(jnp.array([3.0, 1.0]), 2.0).tolist()
      [1.0, 0.0]
    """
    return jnp.maximum(values - decay, 0)


@jax.jit
def fold(decay: jax.Array, depth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(phi_f, s_f): targets phi >= phi_f have a stationary value s >= s_f > 0, L >= 3.

    s_f = (lam (L-2)/L)^{L/(2L-2)} is where s + lam s^{2/L-1} is least, phi_f = s_f (2L-2)/(L-2).
    For L = 2 they are (lam, 0).

    Source: derived from (26).

    Example:
      >>> [round(value.item(), 3) for value in fold(0.2, 3)]
      [0.525, 0.131]
    """
    depth = jnp.asarray(depth)
    value = (decay * (depth - 2) / depth) ** (depth / (2 * depth - 2))
    return value + decay * value ** (2 / depth - 1), value


@jax.jit
def jump(decay: jax.Array, depth: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(phi_g, s_g): the global minimiser is 0 below phi_g and jumps to s_g there.

    s_g = (lam (L-2))^{L/(2L-2)}, phi_g = s_g (L-1)/(L-2); for L = 2 they are (lam, 0).

    Source: derived from (26): the objective at s_g equals phi^2/2.

    Example:
      >>> [round(value.item(), 3) for value in jump(0.2, jnp.array([3, 4]))[0]]
      [0.598, 0.814]
    """
    depth = jnp.asarray(depth)
    value = (decay * (depth - 2)) ** (depth / (2 * depth - 2))
    return value + decay * value ** (2 / depth - 1), value


@jax.jit
def stationary(values: jax.Array, decay: jax.Array, depth: jax.Array) -> jax.Array:
    """The local minimiser s >= s_f of 1/2 (s - phi)^2 + lam (L/2) s^{2/L}, where phi >= phi_f.

    The larger root of s + lam s^{2/L-1} = phi, by bisection; NaN below phi_f.

    Source: derived from (26).

    Example:
      >>> [round(value.item(), 3) for value in stationary(jnp.array([3.0, 0.3]), 0.2, 3)]
      [2.859, nan]
    """
    least, lowest = fold(decay, depth)
    power = 2 / jnp.asarray(depth) - 1

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        above = middle + decay * middle**power > values
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    start = (lowest + 0 * values, jnp.maximum(values, lowest))
    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, start)
    return jnp.where(values >= least, (low + high) / 2, jnp.nan)


@jax.jit
def shrink(values: jax.Array, decay: jax.Array, depth: jax.Array) -> jax.Array:
    """Singular values of the global minimiser: `stationary` above phi_g, 0 below; L >= 2.

    Source: derived from (26); by von Neumann's inequality the values decouple.

    Example:
      >>> [round(value.item(), 3) for value in shrink(jnp.array([3.0, 0.8, 0.3]), 0.2, 3)]
      [2.859, 0.557, 0.0]
    """
    threshold, _ = jump(decay, depth)
    return jnp.where(values > threshold, stationary(values, decay, depth), 0)


@jax.jit
def penalised(values: jax.Array, target: jax.Array, decay: jax.Array, depth: jax.Array):
    """1/2 (s - phi)^2 + lam (L/2) s^{2/L}, per singular value: the least objective with this s.

    Source: arXiv 2503.19859, (26), with the constant L/2.

    Example:
      >>> penalised(1.0, 3.0, 0.5, 2).item()
      2.5
    """
    return (values - target) ** 2 / 2 + decay * depth / 2 * values ** (2 / jnp.asarray(depth))


@jax.jit
def outward_slope(energy: jax.Array, top: jax.Array, decay: jax.Array, depth: jax.Array):
    """sum_l <W_l, grad_l> >= lam E - L s_1 (E/L)^{L/2}, E = sum_l ||W_l||^2.

    Proof: the sum is lam E + L (||M||^2 - <Phi, M>), and <Phi, M> <= s_1 prod ||W_l||, where the
    product is at most (E/L)^{L/2} by the inequality of the means.

    Args:
      energy: E. top: s_1 of the target. decay: lam. depth: L.

    Source: proved above.

    Example:
      >>> outward_slope(3.0, 1.0, 0.5, 3).item()
      -1.5
    """
    return decay * energy - depth * top * (energy / depth) ** (jnp.asarray(depth) / 2)


@jax.jit
def collapse_radius(top: jax.Array, decay: jax.Array, depth: jax.Array) -> jax.Array:
    """From sum_l ||W_l||^2 < L (lam/s_1)^{2/(L-2)} gradient flow goes to the origin, L >= 3.

    There `outward_slope` is positive: the origin is a local minimum, and small starts collapse.

    Returns:
      The radius, of (sum_l ||W_l||^2)^{1/2}.

    Source: proved above; not mentioned in arXiv 2503.19859.

    Example:
      >>> round(collapse_radius(1.0, 0.5, 3).item(), 4)
      0.866
    """
    depth = jnp.asarray(depth)
    return jnp.sqrt(depth * (decay / top) ** (2 / (depth - 2)))
