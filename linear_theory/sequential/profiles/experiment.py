"""What the shape of the spectrum does: Figures 5, 6 and 9."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from deflation import Regression, budgets
from linear_theory.instances.setting import Setting, float64, normalised, reduced
from linear_theory.instances.simulate import spectrum
from linear_theory.sequential.descent import descend

PROFILES = ("uniform", "exponential", "power")


@float64
def spectra(setting: Setting, *, profiles=PROFILES) -> dict:
    """Singular values of W and of Y = W X for every profile at ||W||_F = sqrt(r), no noise.

    Returns:
      profiles (S,), of_map and of_target (S, r).

    Source: arXiv 2505.22602, Figure 5.
    """
    drawn = [setting.draw(normalised(name, setting.rank)) for name in profiles]

    def values(matrix):
        return jnp.linalg.svd(matrix, compute_uv=False)[: setting.rank]

    return {
        "profiles": profiles,
        "of_map": jnp.stack([values(one.truth) for one in drawn]),
        "of_target": jnp.stack([values(one.y) for one in drawn]),
    }


@float64
def profile_curves(
    setting: Setting, *, profiles=PROFILES, total: int = 2000, steps=("fixed", "auto")
) -> dict:
    """Errors after every iteration for every profile at ||W||_F = sqrt(r), equal budgets.

    Returns:
      profiles (S,), steps (K,), component_steps (r,); reconstruction and training, relative,
      (K, S, N, T).

    Source: arXiv 2505.22602, Figure 6, which has the fixed step; the adaptive one takes away what
    a fixed step does to spectra of different largest value.
    """
    schedule = np.asarray([budgets.equal(setting.rank, total).steps])

    def curves(step: str, name: str):
        solver = dataclasses.replace(setting, step=step).solver
        drawn = setting.draw(normalised(name, setting.rank))
        problem = Regression.from_data(drawn.x, drawn.y)
        run = descend(problem, drawn.truth, solver, schedule, setting.first_factors())
        reconstruction = run.reconstruction[0] / jnp.linalg.norm(drawn.truth)
        return reconstruction, run.training[0] / jnp.linalg.norm(drawn.y)

    runs = [[curves(step, name) for name in profiles] for step in steps]
    return {
        "profiles": profiles,
        "steps": steps,
        "component_steps": schedule[0],
        "reconstruction": jnp.stack([jnp.stack([run[0] for run in row]) for row in runs]),
        "training": jnp.stack([jnp.stack([run[1] for run in row]) for row in runs]),
    }


@float64
def profile_noise(
    setting: Setting,
    *,
    profiles=PROFILES,
    levels=(0.05, 0.1, 0.5, 1.0),
    total: int = 1000,
    order: str = "more",
) -> dict:
    """||W - W_t||_F after every iteration for every profile and noise level, raw scale.

    Returns:
      profiles (S,), levels (L,), norms ||W||_F (S,), component_steps (r,); error (L, S, N, T), in
      units of W.

    Source: arXiv 2505.22602, Figure 9. Raw scale: its profiles differ in norm, so that absolute
    and relative errors order them differently.
    """
    schedule = np.asarray([budgets.linear_family(setting.rank, total, order).steps])
    noise, first = setting.noise(), setting.first_factors()
    norms, errors = [], []
    for name in profiles:
        drawn = setting.draw(spectrum(name, setting.rank))
        norms.append(jnp.linalg.norm(drawn.truth))
        for level in levels:
            problem = reduced(drawn.x, drawn.y + level * noise)
            run = descend(problem, drawn.truth, setting.solver, schedule, first)
            errors.append(run.reconstruction[0])
    errors = jnp.stack(errors).reshape(len(profiles), len(levels), *errors[0].shape)
    return {
        "profiles": profiles,
        "levels": levels,
        "norms": jnp.stack(norms),
        "component_steps": schedule[0],
        "error": jnp.swapaxes(errors, 0, 1),
    }
