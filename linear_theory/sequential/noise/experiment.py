"""Noise in the targets under gradient descent: Figures 7 and 8."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from deflation import budgets
from linear_theory.instances.setting import Setting, float64, reduced
from linear_theory.sequential.descent import descend

SPARSE = 0.05  # share of the entries of Y that sparse noise touches


@float64
def noise_curves(
    setting: Setting,
    *,
    levels=(0.0, 0.1, 0.5, 1.0, 1.5, 2.0),
    densities=(1.0, SPARSE),
    total: int = 1000,
    order: str = "more",
) -> dict:
    """Errors after every iteration for Gaussian and sparse noise, exponential spectrum.

    Returns:
      levels (L,), densities (D,), component_steps (r,); reconstruction and training, relative to
      ||W|| and to ||Y|| (noise included), (D, L, N, T).

    Source: arXiv 2505.22602, Figure 7.
    """
    schedule = np.asarray([budgets.linear_family(setting.rank, total, order).steps])
    runs = [_curves(setting, schedule, level, density) for density in densities for level in levels]
    shape = (len(densities), len(levels))

    def stacked(values):
        values = jnp.stack(values)
        return values[:, 0].reshape(*shape, *values.shape[2:])

    return {
        "levels": levels,
        "densities": densities,
        "component_steps": schedule[0],
        "reconstruction": stacked([run[0] for run in runs]),
        "training": stacked([run[1] for run in runs]),
    }


@float64
def noise_allocation(
    setting: Setting, *, levels=(0.1, 0.5, 1.0, 1.5), totals=(500, 2000), orders=budgets.ORDERS
) -> dict:
    """Reconstruction after every iteration for the linear family of schedules, Gaussian noise.

    Returns:
      levels (L,), totals (B,), orders (S,); for each total T reconstruction_T, relative,
      (L, S, N, T), and steps_T (S, r).

    Source: arXiv 2505.22602, Figure 8, which has T = 500.
    """
    result = {"levels": levels, "totals": totals, "orders": orders}
    for total in totals:
        steps = np.asarray([budgets.linear_family(setting.rank, total, o).steps for o in orders])
        runs = [_curves(setting, steps, level, 1.0)[0] for level in levels]
        result |= {f"reconstruction_{total}": jnp.stack(runs), f"steps_{total}": steps}
    return result


def _curves(setting: Setting, steps, level: float, density: float):
    """Relative reconstruction and training errors, (S, N, T)."""
    drawn = setting.draw("exponential")
    targets = drawn.y + level * setting.noise(density)
    problem = reduced(drawn.x, targets)
    run = descend(problem, drawn.truth, setting.solver, steps, setting.first_factors())
    norms = jnp.linalg.norm(targets, axis=(1, 2))[:, None]
    return run.reconstruction / jnp.linalg.norm(drawn.truth), run.training / norms
