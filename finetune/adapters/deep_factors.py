"""The factors of a deep adapter: full-width ones, and cores between frames from a gradient.

Source: arXiv 2406.04112, section 4, and its public code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.method import Leaves
from finetune.adapters.spectra import leading
from finetune.adapters.tables import by_role
from finetune.models.parts.ops import matmul

FRAMES = ("gradient", "transported")


def chain(leaves: Leaves) -> list[jax.Array]:
    """All factors in the order of x F_1 F_2 ...

    Example:
      >>> frames = {"left": jnp.ones((4, 1)), "right": jnp.ones((1, 2))}
      >>> [factor.shape for factor in chain({**frames, "core": jnp.ones((2, 1, 1))})]
      [(4, 1), (1, 1), (1, 1), (1, 2)]
    """
    if "core" in leaves:
        return [leaves["left"], *leaves["core"], leaves["right"]]
    return [leaves[f"factor_{number + 1}"] for number in range(len(leaves))]


def full(key: jax.Array, shape: tuple[int, int], depth: int, scale: float, dtype) -> Leaves:
    """F_1 (in, w), F_2 ... (w, w), F_depth (w, out), w = max(in, out): scale times orthogonal.

    Of depth 2 F_1 ~ N(0, 1) and F_2 = 0, LoRA's start, as the public code has it.
    """
    width = max(shape)
    sizes = [shape[0], *[width] * (depth - 1), shape[1]]
    if depth == 2:
        first = jax.random.normal(key, (shape[0], width), dtype)
        return {"factor_1": first, "factor_2": jnp.zeros((width, shape[1]), dtype)}
    draw = jax.nn.initializers.orthogonal(scale)
    return {
        f"factor_{n + 1}": draw(jax.random.fold_in(key, n), (sizes[n], sizes[n + 1]), dtype)
        for n in range(depth)
    }


def compressed(
    key: jax.Array, gradient: jax.Array, rank: int, depth: int, scale: float, frames: str
) -> Leaves:
    """left (in, r), core (depth, r, r), every one scale * I, and right (r, out).

    Frames "gradient": U_r and V_r^T of MINUS the gradient. With plus, a positive core would have to
    pass through zero, where the gradient of every core vanishes.

    Frames "transported": for a random partial isometry P (in, out), right spans V_h and P^T U_h,
    h = r / 2, and left is P right. Their product is P restricted to `right`, which is what
    full-width factors start from.

    Example:
      >>> factors = compressed(jax.random.key(0), jnp.eye(3), 2, 3, 0.1, "gradient")
      >>> bool(jnp.allclose(factors["right"] @ factors["right"].T, jnp.eye(2), atol=1e-5))
      True
    """
    dtype = gradient.dtype
    core = jnp.tile(scale * jnp.eye(rank, dtype=dtype), (depth, 1, 1))
    if frames == "gradient":
        u, _, vt = leading(-gradient, rank)
        return {"left": u, "core": core, "right": vt}
    u, _, vt = leading(gradient, rank // 2)
    isometry = jax.nn.initializers.orthogonal()(key, gradient.shape, dtype)
    both = jnp.concatenate([vt.T, matmul(isometry.T, u)], axis=1)
    right = jnp.linalg.qr(both)[0]
    return {"left": matmul(isometry, right), "core": core, "right": right.T}


def slower_frames(ratio: float) -> optax.GradientTransformation:
    """Updates of the frames times `ratio`, of what is a core as they are."""

    def update(updates, state, params=None):
        del params
        frames = ("left", "right")
        return by_role(lambda name, u: ratio * u if name in frames else u, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
