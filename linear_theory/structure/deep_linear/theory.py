"""Deep linear networks: what gradient descent does to each layer, and what it leaves alone.

Legend: W_l (d_l, d_{l-1}), l = 1..L, the layers; W_{j:i} = W_j ... W_i; Phi (d_L, d_0) the target,
rank r; the loss 1/2 ||W_{L:1} - Phi||^2 + lam/2 sum_l ||W_l||^2; eta the step size; eps_l the scale
of an orthogonal start, W_l(0)^T W_l(0) = eps_l^2 I; V_{l,2} (d, k) a basis of the silent subspace
before layer l, on which layer l acts as a multiple rho_l of an isometry. Arrays may have batch axes
in front. Layers are passed as a tuple, the first layer first.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

Layers = tuple[jax.Array, ...]


def product(layers: Layers) -> jax.Array:
    """W_{L:1} = W_L ... W_1.

    Source: arXiv 2503.19859, (11).

    Example:
      >>> product((jnp.ones((2, 3)), jnp.ones((1, 2)))).tolist()
      [[2.0, 2.0, 2.0]]
    """
    return functools.reduce(lambda right, left: left @ right, layers)


def objective(layers: Layers, target: jax.Array, decay: jax.Array | float = 0.0) -> jax.Array:
    """1/2 ||W_{L:1} - Phi||^2 + lam/2 sum_l ||W_l||^2, shape of the batch.

    Source: arXiv 2503.19859, (11).

    Example:
      >>> objective((2 * jnp.eye(1), jnp.eye(1)), jnp.eye(1), 1.0).tolist()
      3.0
    """
    axes = (-1, -2)
    energy = sum(jnp.sum(layer**2, axis=axes) for layer in layers)
    return jnp.sum((product(layers) - target) ** 2, axis=axes) / 2 + decay * energy / 2


@functools.partial(jax.jit, static_argnames="steps")
def descend(
    layers: Layers, target: jax.Array, step_size: jax.Array, decay: jax.Array, steps: int
) -> Layers:
    """Gradient descent on `objective`, W_l <- W_l - eta grad_l, all layers at once.

    Args:
      layers: L arrays (..., d_l, d_{l-1}).
      target: (..., d_L, d_0).
      step_size: eta (...). decay: lam (...).
      steps: number of steps.

    Returns:
      The layers at steps 0..steps, L arrays (steps + 1, ..., d_l, d_{l-1}), in their dtype.

    Source: arXiv 2503.19859, (12).

    Example:
      >>> path = descend((jnp.eye(1), jnp.eye(1)), 2 * jnp.eye(1), 0.25, 0.0, steps=1)
      >>> [layer.ravel().tolist() for layer in path]
      [[1.0, 1.25], [1.0, 1.25]]
    """
    gradient = jax.grad(lambda state: jnp.sum(objective(state, target, decay)))

    def step(state, _):
        moved = jax.tree.map(
            lambda layer, slope: layer - jnp.asarray(step_size)[..., None, None] * slope,
            state,
            gradient(state),
        )
        return moved, moved

    _, path = jax.lax.scan(step, layers, length=steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), layers, path)


def silent_bases(layers: Layers, target: np.ndarray, rank: int) -> list[np.ndarray]:
    """Bases V_{1,2}, ..., V_{L+1,2} of the subspaces that an orthogonal start keeps apart.

    V_{1,2} spans null(Phi) and null(Phi^T W_{L:1}(0)) at once; V_{l+1,2} = W_l(0) V_{l,2}/eps_l.

    Args:
      layers: the start, square and orthogonal up to scales.
      target: (..., d, d) of rank at most `rank`.
      rank: r with 2 r < d.

    Returns:
      L + 1 arrays (..., d, d - 2 r) with orthonormal columns; computed by numpy.

    Raises:
      ValueError: if 2 r >= d, where no silent direction is left.

    Source: arXiv 2503.19859, theorem 2 and its proof; `u = W_1 v / eps_1`, where the text drops
    the division.

    Example:
      >>> bases = silent_bases((np.eye(3), np.eye(3)), np.diag([1.0, 0.0, 0.0]), 1)
      >>> [basis.shape for basis in bases]
      [(3, 1), (3, 1), (3, 1)]
    """
    dim = target.shape[-1]
    if 2 * rank >= dim:
        raise ValueError(f"rank is {rank}; allowed are integers below {dim}/2, half the width")
    start = np.asarray(product(layers))
    active = np.concatenate([target, np.swapaxes(target, -1, -2) @ start], axis=-2)
    return _carried(layers, active, 2 * rank)


def silent_bases_wide(layers: Layers, target: np.ndarray) -> list[np.ndarray]:
    """The same for a target (k, d) with 2 k < d and a last layer (k, d): V_{1,2}, ..., V_{L,2}.

    V_{1,2} spans null(Phi) and null(W_{L:1}(0)) at once. The last layer maps V_{L,2} to 0.

    Raises:
      ValueError: if 2 k >= d.

    Source: arXiv 2503.19859, appendix C.

    Example:
      >>> layers = (np.eye(3), np.eye(3)[:1])
      >>> [basis.shape for basis in silent_bases_wide(layers, np.eye(3)[1:2])]
      [(3, 1), (3, 1)]
    """
    count, dim = target.shape[-2:]
    if 2 * count >= dim:
        raise ValueError(f"target has {count} rows; allowed are fewer than {dim}/2, half the width")
    start = np.asarray(product(layers))
    return _carried(layers[:-1], np.concatenate([target, start], axis=-2), 2 * count)


def _carried(layers: Layers, active: np.ndarray, dimension: int) -> list[np.ndarray]:
    """An orthonormal basis of the null space of `active`, and its images under the layers."""
    bases = [np.swapaxes(np.linalg.svd(active)[2][..., dimension:, :], -1, -2)]
    for layer in layers:
        image = np.asarray(layer) @ bases[-1]
        bases.append(image / np.linalg.norm(image, axis=-2, keepdims=True))
    return bases


def complement(basis: np.ndarray) -> np.ndarray:
    """Orthonormal basis (..., d, d - k) of what the columns of `basis` leave over.

    Example:
      >>> np.abs(complement(np.eye(3)[:, :2])).ravel().tolist()
      [0.0, 0.0, 1.0]
    """
    return np.linalg.svd(basis)[0][..., basis.shape[-1] :]


def compressed_start(layers: Layers, bases: list[np.ndarray]) -> tuple[Layers, np.ndarray, ...]:
    """The factors C_l(0) = eps_l I_{2r} that carry all of the training, with their frames.

    Args:
      layers: the orthogonal start.
      bases: of `silent_bases`.

    Returns:
      C_l(0), L arrays (..., 2r, 2r); U_{L,1} (..., d, 2r); V_{1,1} (..., d, 2r). Descent of C on
      U_{L,1}^T Phi V_{1,1} gives
      W_{L:1}(t) = U_{L,1} C_{L:1}(t) V_{1,1}^T + prod_l rho_l(t) U_{L,2} V_{1,2}^T.

    Source: arXiv 2503.19859, section 2.3 (Deep LoRA).

    Example:
      >>> start = (np.eye(3), 0.5 * np.eye(3))
      >>> bases = silent_bases(start, np.diag([1.0, 0.0, 0.0]), 1)
      >>> factors, left, right = compressed_start(start, bases)
      >>> factors[1].tolist()
      [[0.5, 0.0], [0.0, 0.5]]
    """
    right = complement(bases[0])
    frame, factors = right, []
    for layer in layers:
        image = np.asarray(layer) @ frame
        scale = np.linalg.norm(image[..., :, :1], axis=-2, keepdims=True)
        frame = image / scale
        factors.append(scale * np.eye(frame.shape[-1]))
    return tuple(factors), frame, right


def active_directions(layers: Layers, target: np.ndarray, rank: int) -> np.ndarray:
    """V_{1,1} from the first gradient G: top 2r right singular vectors of [G; G^T W_1].

    G = W_{L:2}^T (W_{L:1} - Phi). Correct while the 2r values stand above those of the silent
    directions, as they do for a small start.

    Returns:
      (..., d, 2r), orthonormal columns; computed by numpy.

    Source: arXiv 2503.19859, section 2.3 (Deep LoRA).

    Example:
      >>> start = (0.1 * np.eye(3), 0.1 * np.eye(3))
      >>> v = active_directions(start, np.diag([1.0, 0.0, 0.0])[:, [1, 0, 2]], 1)
      >>> np.abs(v[2]).round(6).tolist()
      [0.0, 0.0]
    """
    rows = np.linalg.svd(gradient_stack(layers, target))[2]
    return np.swapaxes(rows[..., : 2 * rank, :], -1, -2)


def gradient_stack(layers: Layers, target: np.ndarray) -> np.ndarray:
    """[G; G^T W_1] with G the gradient of the first layer, (..., 2d, d).

    Source: arXiv 2503.19859, section 2.3.

    Example:
      >>> gradient_stack((np.eye(1), np.eye(1)), 3 * np.eye(1)).ravel().tolist()
      [-2.0, -2.0]
    """
    residual = np.asarray(product(layers)) - target
    gradient = np.swapaxes(np.asarray(product(layers[1:])), -1, -2) @ residual
    return np.concatenate(
        [gradient, np.swapaxes(gradient, -1, -2) @ np.asarray(layers[0])], axis=-2
    )
