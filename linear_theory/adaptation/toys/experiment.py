"""The toys of two factors: paths from two starts, and the flow in the plane."""

from __future__ import annotations

import jax
import numpy as np

from linear_theory.adaptation.toys import theory as toys
from linear_theory.instances.random_matrices import generator
from linear_theory.instances.setting import Setting, float64

TRUTH = (2.0, 1.0)


@float64
def toy_paths(
    setting: Setting,
    *,
    step: float = 0.02,
    steps: int = 4000,
    target: float = 1.0,
    width: float = 2.2,
    points: int = 121,
) -> dict:
    """Toy I from the spectral and from LoRA's start, and descent of toy II from a few points.

    Toy I: y = w*.x with w* = (2, 1), setting.n inputs, a model b a.x. Toy II: (a b - c)^2/2, c =
    `target`, on a square of half width `width`; starts on the axis b = 0, as LoRA's, one with a =
    b, as the spectral one, and one with a = -b, which ends at the saddle.

    Returns:
      starts (2,), loss (2, N, steps + 1), weight (2, N, steps + 1, 2), the product b a; end and
      predicted (2, N), the factor b and `toys.end_point`; grid (points,), height (points, points),
      log10 of the loss + 1e-3, rows b and columns a; field (2, points, points); paths (P, steps +
      1, 2) of toy II.

    Source: arXiv 2502.01235, the talk's toy example and its phase portrait, where the step is 0.1;
    it diverges for some inputs.
    """
    random = generator(jax.random.key(setting.seed))
    x = random.normal(size=(setting.trials, setting.n, 2))
    gram, truth = x.mT @ x / setting.n, np.array(TRUTH)
    gradient = gram @ truth
    scale = np.sqrt(np.linalg.norm(gradient, axis=1))
    starts = {
        "spectral": (gradient / scale[:, None], scale),
        "LoRA": (random.normal(size=(setting.trials, 2)), np.zeros(setting.trials)),
    }
    losses, weights, ends, predicted = [], [], [], []
    for a, b in starts.values():
        predicted.append(toys.end_point((a**2).sum(axis=1) - b**2, np.linalg.norm(truth)))
        path = []
        for _ in range(steps + 1):
            path.append(b[:, None] * a)
            slope = (gram @ (path[-1] - truth)[..., None])[..., 0]
            a, b = a - step * b[:, None] * slope, b - step * (a * slope).sum(axis=1)
        weight = np.stack(path, axis=1)
        rest = weight - truth
        losses.append(((rest @ gram) * rest).sum(axis=-1) / 2)
        weights.append(weight)
        ends.append(np.abs(b))
    grid = np.linspace(-width, width, points)
    b, a = np.meshgrid(grid, grid, indexing="ij")
    return {
        "starts": np.array(list(starts)),
        "loss": np.stack(losses),
        "weight": np.stack(weights),
        "end": np.stack(ends),
        "predicted": np.stack(predicted),
        "target": target,
        "grid": grid,
        "height": np.log10((a * b - target) ** 2 / 2 + 1e-3),
        "field": np.stack(toys.field(a, b, target)),
        "paths": _plane(target, width, step, steps),
    }


def _plane(target: float, width: float, step: float, steps: int) -> np.ndarray:
    """Descent of toy II: from even factors, from b = 0 twice, and from a = -b."""
    point = np.array([(0.2, 0.2), (0.6, 0.0), (-0.85 * width, 0.0), (-1.5, 1.5)]).T
    path = [point]
    for _ in range(steps):
        point = point + step * np.stack(toys.field(*point, target))
        path.append(point)
    return np.moveaxis(np.stack(path), (0, 1, 2), (1, 2, 0))
