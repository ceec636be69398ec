"""Errors of all workers, round by round, for every way to run: the data of the parallel figures.

Legend: R_k = b_k a_k^T in whitened coordinates, M the target, s_k its singular values, R*_k its
exact components; E_k = ||R_k - R*_k||_F and G_k = E_k/s_k; r components, N trials, L rounds.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deflation import Components, Regression, start
from deflation.problem.components import distances, norms
from linear_theory.instances.recording import reference, trajectory
from linear_theory.instances.setting import Setting

DESIGN = "orthonormal"  # X X^T = I: the spectrum of W is that of the target


class Workers(NamedTuple):
    """What the rounds of N runs leave; everything of components is relative to s_k.

    Attributes:
      error: G_k of what is published, 1 while nothing is, (N, L, r).
      private: G_k of the worker's own factors, published or not, (N, L, r).
      sum_error: ||sum_k R_k - R*_k||_F / ||sum_k R*_k||_F of what is published, (N, L).
      work: rounds of single workers so far, (N, L).
    """

    error: jax.Array
    private: jax.Array
    sum_error: jax.Array
    work: jax.Array


def problem_of(setting: Setting, spectrum) -> Regression:
    """The problem whose target has this spectrum: no noise, orthonormal rows of X."""
    drawn = setting.draw(spectrum)
    return Regression.from_data(drawn.x, drawn.y)


def follow(problem: Regression, rank: int, solver, keys, *, rounds: int, **options) -> Workers:
    """Runs `rounds` rounds from every key.

    Args:
      problem: one Regression for all trials.
      rank: number of components.
      solver: the rank-one solver.
      keys: (N,), for the first factors.
      rounds: L.
      **options: of `deflation.start`: method, budget, staggered, advance and the others.
    """
    options = {"method": "parallel", "advance": True} | options
    chosen = tuple(sorted(options.items()))
    return _follow(problem, reference(problem, rank), solver, keys, rounds, chosen)


@functools.partial(jax.jit, static_argnums=(4, 5))
def _follow(problem, reference, solver, keys, rounds, options) -> Workers:
    rank, total = reference.a.shape[0], reference.matrix()

    def measure(_, state):
        progress = state.progress
        factors = progress.factors
        published = (jnp.arange(rank) < progress.active)[:, None]
        visible = Components(jnp.where(published, factors.b, 0), factors.a)
        return (
            distances(visible, reference) / norms(reference),
            distances(factors, reference) / norms(reference),
            jnp.linalg.norm(visible.matrix() - total) / jnp.linalg.norm(total),
            progress.spent.sum(),
        )

    def run(key):
        state = start(problem, rank, solver, key=key, **dict(options))
        return trajectory(state, rounds, measure)[1]

    return Workers(*jax.vmap(run)(keys))
