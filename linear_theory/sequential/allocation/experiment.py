"""How the iterations of a fixed budget are divided among components: Figure 1 and its sweep."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Components, Regression, budgets
from linear_theory.instances.setting import Setting, float64
from linear_theory.sequential.descent import descend, step_errors

# Beyond |alpha| = 1 the poor end of the schedule is clipped.
ALPHAS = tuple(float(alpha) for alpha in np.linspace(-2, 2, 121).round(6))


@float64
def allocation(setting: Setting, *, alphas=(-1.0, 0.0, 1.0), total: int = 500) -> dict:
    """Errors after every iteration for schedules of the alpha family, exponential spectrum.

    Returns:
      alphas (S,), steps (S, r), and for every iteration (S, N, T): reconstruction
      ||W - W_t||/||W||, training ||Y - W_t X||/||Y||, step_error sum_{j<k} ||Psi_j|| + ||Psi_k||
      with k the running component (see `step_errors`), in units of W.

    Source: arXiv 2505.22602, Figure 1.
    """
    drawn, problem, steps = _problem(setting, alphas, total)
    run = descend(
        problem, drawn.truth, setting.solver, steps, setting.first_factors(), record="factors"
    )
    step_error = jax.vmap(lambda final, running, k: step_errors(problem, final, running, k))(
        run.final, run.running, run.component
    )
    ends = jnp.asarray(np.cumsum(steps, axis=1) - 1)[:, None, :]
    finished = jnp.take_along_axis(step_error, ends, axis=2)
    before = jnp.cumsum(finished, axis=2) - finished
    step_error = step_error + jnp.take_along_axis(before, run.component, axis=2)
    return {
        "alphas": alphas,
        "steps": steps,
        "reconstruction": run.reconstruction / jnp.linalg.norm(drawn.truth),
        "training": run.training / jnp.linalg.norm(drawn.y),
        "step_error": step_error,
    }


@float64
def alpha_sweep(setting: Setting, *, alphas=ALPHAS, total: int = 500):
    """What is left after `total` iterations, as a function of alpha; exponential spectrum.

    Returns:
      alphas (S,), steps (S, r), and at the end (S, N): reconstruction, training, step_error
      sum_k ||Psi_k||, normalised as in `allocation`.

    Source: arXiv 2505.22602, the released sweep over alpha.
    """
    drawn, problem, steps = _problem(setting, alphas, total)
    run = descend(
        problem, drawn.truth, setting.solver, steps, setting.first_factors(), record="end"
    )
    flat = Components(*(rows.reshape(-1, *rows.shape[2:]) for rows in run.final))
    every = jnp.broadcast_to(jnp.arange(setting.rank), flat.b.shape[:2])
    step_error = step_errors(problem, flat, flat, every).sum(axis=1)
    return {
        "alphas": alphas,
        "steps": steps,
        "reconstruction": run.reconstruction[..., 0] / jnp.linalg.norm(drawn.truth),
        "training": run.training[..., 0] / jnp.linalg.norm(drawn.y),
        "step_error": step_error.reshape(run.final.b.shape[:2]),
    }


@float64
def allocation_limits(
    setting: Setting,
    *,
    alphas=ALPHAS[::6],
    totals=(250, 500, 1000, 2000, 4000),
    total: int = 500,
    designs=("column", "row", "gauss", "orthonormal"),
) -> dict:
    """The sweep over alpha where its conditions change: budget, design of X, step size.

    Returns:
      alphas (S,), and the reconstruction error at the end for the budgets `totals` (B, S, N), and
      for `designs` with the fixed and with the adaptive step, both (D, S, N).
    """

    def ends(design: str, step: str, total: int):
        return _ends(dataclasses.replace(setting, design=design, step=step), alphas, total)

    return {
        "alphas": alphas,
        "totals": totals,
        "total": total,
        "by_total": jnp.stack([ends(setting.design, setting.step, t) for t in totals]),
        "designs": designs,
        "by_design": jnp.stack([ends(design, "fixed", total) for design in designs]),
        "by_design_auto": jnp.stack([ends(design, "auto", total) for design in designs]),
    }


@float64
def allocation_sizes(
    setting: Setting,
    *,
    sizes=((50, 100, 250, 10), (100, 200, 500, 20), (100, 200, 500, 40), (500, 1000, 2500, 20)),
    alphas=(-1.0, -0.5, 0.0, 0.5, 1.0),
    designs=("column", "row"),
    each: int = 25,
) -> dict:
    """The sweep over alpha for problems of several sizes, `each` iterations per component.

    Returns:
      alphas (S,), sizes (m, d, n, r) of the problems (Z, 4), designs (D,), each, and the
      reconstruction error at the end (D, Z, S, N), of the rest of the setting.

    Source: arXiv 2505.22602, appendix E: the text's sizes, and that they do not matter.
    """

    def ends(design: str, m: int, d: int, n: int, rank: int):
        changed = dataclasses.replace(setting, design=design, m=m, d=d, n=n, rank=rank)
        return _ends(changed, alphas, each * rank)

    errors = [jnp.stack([ends(design, *size) for size in sizes]) for design in designs]
    return {
        "alphas": alphas,
        "sizes": sizes,
        "designs": designs,
        "each": each,
        "reconstruction": jnp.stack(errors),
    }


def _ends(setting: Setting, alphas, total: int) -> jax.Array:
    """The relative reconstruction error after `total` iterations, (S, N)."""
    drawn, problem, steps = _problem(setting, alphas, total)
    first = setting.first_factors()
    run = descend(problem, drawn.truth, setting.solver, steps, first, record="end")
    return run.reconstruction[..., 0] / jnp.linalg.norm(drawn.truth)


def _problem(setting: Setting, alphas, total: int):
    drawn = setting.draw("exponential")
    problem = Regression.from_data(drawn.x, drawn.y)
    steps = [budgets.alpha_family(setting.rank, total, float(a)).steps for a in alphas]
    return drawn, problem, np.asarray(steps)
