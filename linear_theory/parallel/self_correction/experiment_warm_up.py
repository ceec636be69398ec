"""When the targets of later workers become good enough: measured rounds beside the proved ones."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deflation import alternating
from linear_theory.instances.setting import Setting, float64
from linear_theory.parallel.self_correction import theory as self_correction
from linear_theory.parallel.self_correction import warm_up
from linear_theory.parallel.self_correction.contraction import alternating_rate
from linear_theory.parallel.workers import follow, problem_of

TAU = 0.5
SECOND = 0.8  # s_2/s_1 in the sweep over the gap of worker 2


@float64
def warm_up_against_gap(
    setting: Setting,
    *,
    gaps=(0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005),
    ratios=(0.5, 0.6, 0.7, 0.8),
    workers: int = 5,
    rounds: int = 64,
) -> dict:
    """First round from which a worker's mismatch stays within its gate, power iteration.

    The gate of worker k is sum_{j<k} s_j G_j <= tau T_k/sqrt(2), tau = 1/2. First sweep: the gap
    T_2 for s_1 = 1, s_2 = 0.8. Second: all workers for geometric spectra.

    Returns:
      gaps (P,); measured (P, N) for worker 2; sharp (P, N), `self_correction.second_gate_round`
      from the run's own first direction; lambert_1 and lambert_6 (P, N), burn-in and Lambert-W law
      with amplitude 1 and 6 at the local rate F_1; theorem (P, N), s_2 of the warm-up theorem;
      ratios (Q,); measured_workers and theorem_workers (Q, N, r) for workers 1 to r.

    Source: arXiv 2605.10741, warm-up; arXiv 2502.17615, theorem 2.
    """
    sweep = [_second(setting, gap, workers, rounds) for gap in gaps]
    by_worker = [_workers(setting, ratio, workers, rounds) for ratio in ratios]
    result = {"gaps": gaps, "ratios": ratios}
    for name in sweep[0]:
        result[name] = jnp.stack([row[name] for row in sweep])
    for name in by_worker[0]:
        result[f"{name}_workers"] = jnp.stack([row[name] for row in by_worker])
    return result


def _second(setting: Setting, gap: float, workers: int, rounds: int) -> dict:
    """Worker 2 behind a worker 1 that does not change with the gap.

    Later workers change nothing for it; they are there to share the program of `_workers`.
    """
    tail = (SECOND - gap) * 0.6 ** np.arange(setting.rank - 2)
    values = jnp.asarray([1.0, SECOND, *tail])
    problem = problem_of(setting, values)
    keys, solver = setting.trial_keys(), alternating()
    run = follow(problem, workers, solver, keys, rounds=rounds)
    predicted = _predicted(values, _first_cosine(problem, workers, solver, keys))
    predicted["theorem"] = _theorem(values, workers, predicted.pop("burn_in"))[:, 1]
    return {"measured": _gate_rounds(run.error, values)[:, 1], **predicted}


@jax.jit
def _predicted(values: jax.Array, cosine: jax.Array) -> dict:
    """Gate rounds of worker 2 by formula, each (N,), from worker 1's first direction."""
    level, rate = self_correction.gate_radius(values, TAU)[1], alternating_rate(values)[0]
    burn_in = _burn_in(values, cosine)
    return {
        "sharp": self_correction.second_gate_round(values, cosine, gate=TAU / 2**0.5),
        "lambert_1": burn_in + warm_up.rounds_until(rate, level),
        "lambert_6": burn_in + warm_up.rounds_until(rate, level / 6),
        "burn_in": burn_in,
    }


@jax.jit
def _burn_in(values: jax.Array, cosine: jax.Array) -> jax.Array:
    """Rounds until worker 1 is within 45 degrees of its direction, (N,)."""
    tangent = jnp.sqrt(1 / cosine**2 - 1)
    return jnp.maximum(1, jnp.log(tangent) / -jnp.log(alternating_rate(values)[0]))


def _workers(setting: Setting, ratio: float, workers: int, rounds: int) -> dict:
    values = jnp.asarray(ratio ** np.arange(setting.rank))
    problem = problem_of(setting, values)
    keys, solver = setting.trial_keys(), alternating()
    run = follow(problem, workers, solver, keys, rounds=rounds)
    burn_in = _burn_in(values, _first_cosine(problem, workers, solver, keys))
    return {
        "measured": _gate_rounds(run.error, values),
        "theorem": _theorem(values, workers, burn_in),
    }


@functools.partial(jax.jit, static_argnums=1)
def _first_cosine(problem, workers: int, solver, keys) -> jax.Array:
    """Cosine between worker 1's first direction and its goal, (N,)."""
    top = jnp.linalg.svd(problem.target, full_matrices=False)[2][0]
    first = jax.vmap(lambda key: solver.init(problem, workers, key).a[0])(keys)
    return jnp.abs(first @ top)


@jax.jit
def _gate_rounds(errors: jax.Array, values: jax.Array) -> jax.Array:
    """First round from which the gate holds for good, (N, r); worker 1 has none and gets 1.

    errors: published G_k (N, L, r).
    """
    rank = errors.shape[-1]
    # Round l sees what was published after round l - 1; before the first nothing is.
    shown = jnp.concatenate([jnp.ones_like(errors[:, :1]), errors[:, :-1]], axis=1) * values[:rank]
    radius = self_correction.gate_radius(values, TAU)[:rank]
    outside = self_correction.mismatch_bound(shown) > radius
    last = errors.shape[1] - jnp.argmax(outside[:, ::-1], axis=1)
    last = jnp.where(outside.any(axis=1), last, 0)
    # A gate still closed at the end has no round.
    return jnp.where(outside[:, -1], jnp.nan, jnp.maximum(last + 1, 1.0))


@functools.partial(jax.jit, static_argnums=1)
def _theorem(values: jax.Array, workers: int, burn_in: jax.Array) -> jax.Array:
    """s_k of the warm-up theorem with amplitude 6 and late contractions, (N, r)."""
    rates = alternating_rate(values)[:workers]
    radius = self_correction.gate_radius(values, TAU)[:workers]
    constant = self_correction.transfer_constant(values, radius)
    couplings = self_correction.coupling(values, rates, constant)
    proved = warm_up.proved_rates(rates)
    first = jnp.maximum(jnp.ceil(burn_in)[:, None], jnp.arange(1.0, workers + 1))

    def rounds_from(first):
        return warm_up.warm_up_rounds(values, proved, first, couplings, TAU / 2**0.5)

    return jax.vmap(rounds_from)(first)
