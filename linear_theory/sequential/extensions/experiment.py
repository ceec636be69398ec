"""The paper's list of future work, each option measured once against plain sequential deflation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Components, Regression, alternating, budgets, start
from deflation.problem.components import distances, norms
from linear_theory.instances.recording import reference, trajectory
from linear_theory.instances.setting import Setting, float64
from linear_theory.sequential.descent import errors

OPTIONS = {
    "plain": {},
    "re-optimised": {"reoptimise": 1},
    "orthogonal": {"orthogonal": True},
    "full-rank steps": {"full_rank": 1},
}


@float64
def extensions(
    setting: Setting,
    *,
    total: int = 500,
    rank: int | None = None,
    each: int = 3,
    options=tuple(OPTIONS),
) -> dict:
    """Sequential deflation with re-optimisation, orthogonality and full-rank steps, each alone.

    Two solvers: the paper's gradient descent with `total` equal iterations on all r components of
    an exponential spectrum, and power iteration with `each` rounds per component on the first
    `rank` (r/2 when None); `options` of `OPTIONS`. Re-optimisation and full-rank steps act after
    every component; both are charged one round for every component that they touch.

    Returns:
      options (O,), solvers (K,), and per solver s: s_work (O, L), rounds of single components;
      s_training, relative (O, N, L); s_component_error, G_k at the end, (O, N, r_s).

    Source: arXiv 2505.22602, future work.
    """
    rank = setting.rank // 2 if rank is None else rank
    drawn = setting.draw("exponential")
    problem = Regression.from_data(drawn.x, drawn.y)
    first = setting.first_factors()
    directions = jnp.stack(
        [jax.random.normal(key, (rank, setting.d)) for key in setting.trial_keys()]
    )
    power = Components(jnp.zeros((setting.trials, rank, setting.m)), directions)
    runs = {
        "gradient": (setting.solver, budgets.equal(setting.rank, total), first),
        "power": (alternating(), budgets.equal(rank, rank * each), power),
    }
    result = {"options": options, "solvers": list(runs)}
    for name, (solver, budget, factors) in runs.items():
        measured = [_run(problem, solver, budget, factors, OPTIONS[o]) for o in options]
        training, component_error = (jnp.stack(values) for values in zip(*measured, strict=True))
        result |= {
            f"{name}_work": np.stack([_work(budget, OPTIONS[o]) for o in options]),
            f"{name}_training": training / jnp.linalg.norm(drawn.y),
            f"{name}_component_error": component_error,
        }
    return result


def _run(problem, solver, budget: budgets.Budget, factors, option: dict):
    """Training error after every round (N, L), component errors at the end (N, r)."""
    rank = len(budget.steps)
    ideal = reference(problem, rank)

    @jax.jit
    def run(problem, factors):
        # One trial after the other: batching would turn the occasional step into one every round.
        def trial(first):
            options = {"method": "sequential", "budget": budget, "init": first} | option
            state = start(problem, rank, solver, **options)
            state, training = trajectory(
                state, budget.total, lambda _, s: errors(problem, 0.0, s.progress.factors)[0]
            )
            return training, distances(state.progress.factors, ideal) / norms(ideal)

        return jax.lax.map(trial, factors)

    return run(problem, factors)


def _work(budget: budgets.Budget, option: dict) -> np.ndarray:
    """Rounds of single components after every round, (L,)."""
    work = np.ones(budget.total)
    if "reoptimise" in option or "full_rank" in option:
        work[np.cumsum(budget.steps) - 1] += np.arange(1, len(budget.steps) + 1)
    return np.cumsum(work)
