"""Claims: weight decay on three and more linear layers, and what depth changes.

Legend: as in `regularization`.
"""

from __future__ import annotations

import functools
import itertools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, orthogonal, per_group, transpose
from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.regularization import theory as reg
from linear_theory.structure.regularization.instances import (
    SOURCE,
    WIDTH,
    Decayed,
    against,
    as_two_layers,
    draw_decayed,
    energy,
)

GRID = 2001


def draw_scalars(key, trials: int):
    """(phi, lam, depth), each (trials,), phi from half to twice where the minimiser jumps.

    Example:
      >>> import jax
      >>> [part.shape for part in draw_scalars(jax.random.key(0), 3)]
      [(3,), (3,), (3,)]
    """
    rng = generator(key)
    depth = rng.integers(3, 7, trials)
    decay = 10 ** rng.uniform(-2, 0, trials)
    return rng.uniform(0.5, 2, trials) * np.asarray(reg.jump(decay, depth)[0]), decay, depth


def _by_search(scalars, threshold=reg.jump) -> Evidence:
    """The best of a grid over [0, phi] against the formula, which has one jump."""
    phi, decay, depth = scalars
    grid = phi[:, None] * np.linspace(0, 1, GRID)
    best = np.asarray(reg.penalised(grid, phi[:, None], decay[:, None], depth[:, None]))
    minimiser = np.take_along_axis(grid, best.argmin(axis=1)[:, None], 1)[:, 0]
    switch = np.asarray(threshold(decay, depth)[0])
    formula = np.where(phi > switch, reg.stationary(phi, decay, depth), 0)
    # A smooth minimum lies within one mesh width of the best grid point; at the jump both values
    # are minimisers, and the grid's choice is made by its own resolution.
    apart = np.abs(phi / np.asarray(reg.jump(decay, depth)[0]) - 1) > 1e-3
    return Evidence(np.abs(minimiser - formula), phi / (GRID - 1), apart)


def draw_large(key, trials: int):
    """(phi, lam, depth) with phi >= 1 + lam.

    Example:
      >>> import jax
      >>> phi, decay, _ = draw_large(jax.random.key(0), 3)
      >>> bool((phi >= 1 + decay).all())
      True
    """
    rng = generator(key)
    decay = rng.uniform(0.01, 0.5, trials)
    return 1 + decay + rng.exponential(1, trials), decay, rng.integers(2, 6, trials)


def _shrinkage(scalars, printed: bool = False) -> Evidence:
    phi, decay, depth = scalars
    here = phi - np.asarray(reg.shrink(phi, decay, depth))
    deeper = phi - np.asarray(reg.shrink(phi, decay, depth + 1))
    # It is the global minimiser where the deeper network keeps the value at all.
    survives = phi > np.asarray(reg.jump(decay, depth + 1)[0])
    return Evidence(here, deeper, survives) if printed else Evidence(deeper, here, survives)


def _outward(group: Decayed, top: float = 1.0) -> Evidence:
    """Layers along the target's first singular pair, disturbed, in a ball twice as large."""
    rng, depth, count = group.generator(), group.depth, len(group.target)
    left, _, right = np.linalg.svd(group.target, full_matrices=False)
    frames = [transpose(right[:, :1])]
    frames += [orthogonal(rng, count, WIDTH, 1) for _ in range(depth - 1)] + [left[:, :, :1]]
    size = 10 ** rng.uniform(-3, 0, (count, 1, 1))
    layers = [after @ transpose(before) for before, after in itertools.pairwise(frames)]
    layers = [layer + size * rng.standard_normal(layer.shape) for layer in layers]
    radius = np.asarray(reg.collapse_radius(group.values[:, 0], group.decay, depth))
    share = radius * rng.uniform(0.2, 2, count) / np.sqrt(2 * energy(layers))
    layers = [layer * share[:, None, None] for layer in layers]
    # One step of size 1 moves each layer by its gradient.
    moved = deep.descend(tuple(layers), group.target, 1.0, group.decay, steps=1)
    slopes = [layer - np.asarray(after)[1] for layer, after in zip(layers, moved, strict=True)]
    measured = sum(
        np.sum(layer * slope, axis=(1, 2)) for layer, slope in zip(layers, slopes, strict=True)
    )
    bound = reg.outward_slope(2 * energy(layers), top * group.values[:, 0], group.decay, depth)
    return Evidence(measured, np.asarray(bound))


draw_deep = functools.partial(draw_decayed, depths=(3, 4, 5, 6))
draw_two = functools.partial(draw_decayed, depths=(2,))

CLAIMS = (
    Claim(
        name="regularization.deep_minimum",
        source=f"{SOURCE}, (26)",
        statement="L >= 3 layers with weight decay: the global minimum, value by value.",
        formula="objective >= sum_i 1/2 (s_i - phi_i)^2 + lam (L/2) s_i^{2/L}, "
        "s + lam s^{2/L-1} = phi above phi_g, 0 below",
        kind="lower",
        status="new",
        instances=draw_deep,
        measure=per_group(against),
        control=Control(
            "the soft threshold of two layers",
            per_group(functools.partial(against, values=as_two_layers)),
        ),
    ),
    Claim(
        name="regularization.deep_jump",
        source="derived from (26) of arXiv 2503.19859",
        statement="The minimiser is 0 up to phi_g and jumps there, above where local minima begin.",
        formula="phi_g = s_g (L-1)/(L-2), s_g = (lam (L-2))^{L/(2L-2)}",
        kind="identity",
        status="new",
        instances=draw_scalars,
        measure=_by_search,
        control=Control(
            "nonzero from where a local minimum exists, phi_f",
            functools.partial(_by_search, threshold=reg.fold),
        ),
    ),
    Claim(
        name="regularization.depth_shrinks_less",
        source=f"{SOURCE}, discussion of (26)",
        statement="Singular values phi >= 1 + lam that survive are shrunk less with one more "
        "layer; the text has all of them shrunk more.",
        formula="phi - s_{L+1}(phi) <= phi - s_L(phi), phi >= 1 + lam",
        kind="upper",
        status="corrected",
        instances=draw_large,
        measure=_shrinkage,
        control=Control(
            "as printed, shrunk more with depth", functools.partial(_shrinkage, printed=True)
        ),
    ),
    Claim(
        name="regularization.collapse",
        source="proved in regularization.outward_slope",
        statement="For L >= 3 the origin is a local minimum and attracts all small starts.",
        formula="sum <W_l, grad_l> >= lam E - L s_1 (E/L)^{L/2} > 0, E < L (lam/s_1)^{2/(L-2)}",
        kind="lower",
        status="new",
        instances=draw_deep,
        measure=per_group(_outward),
        control=Control("half of s_1", per_group(functools.partial(_outward, top=0.5))),
    ),
)
