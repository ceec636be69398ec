"""Sequential deflation with simulated errors: the run that all cascade claims look at.

Legend: X (d, n) inputs, Y = W X + E (m, n) targets, W (m, d) of rank r*, P_X the projector on the
row space of X; s_k, u_k, v_k the singular triples of Y P_X. In step k the exact rank-one fit of the
current residual Y_k is c = s u v^T, the top triple of Y_k P_X; the step takes c + Psi_k instead.
Y*_k is the residual of the exact run. r = 0, ..., R counts the components taken.

A solver that stops early is replaced by its error, Psi_k, drawn in one of five shapes; the theory
speaks of nothing else. So the errors may be small, large, or worst, which no solver offers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.instances.batching import per_instance
from linear_theory.instances.draws import draw_numbers, log_uniform, mixed_spectrum, unit
from linear_theory.instances.random_matrices import norm
from linear_theory.instances.simulate import simulate
from linear_theory.perturbation.theory import spectral_gaps

ROWS, INPUTS, SAMPLES, RANK = 8, 7, 11, 5
# Probability that the noise exceeds its radius, in all claims that speak of one.
MISS = 0.05

SHAPES = ("dense", "pair", "extremal", "factors", "half-step")
# Shapes that leave b_k a_k^T of rank one, as an algorithm does.
RANK_ONE = ("factors", "half-step")
# Which steps err: all, the first, the last. The others err by QUIET.
PROFILES = ("all", "first", "last")
QUIET = 1e-8


class Setting(NamedTuple):
    """What a run is made of; leading axis trials.

    spectrum: uniform numbers for the singular values of W. is_tied: whether these are rounded
    down to thirds. rank: of W, r*. sizes: of the errors, (R,). shape: index into SHAPES.
    orthonormal: X X^T = I in place of unit columns. std: of the noise. gap_std: added to it in
    units of the smallest gap of W X. normal: Gaussian numbers for the errors.
    """

    spectrum: jax.Array
    is_tied: jax.Array
    rank: jax.Array
    sizes: jax.Array
    shape: jax.Array
    orthonormal: jax.Array
    std: jax.Array
    gap_std: jax.Array
    normal: jax.Array


class Run(NamedTuple):
    """Norms along a run; leading axis trials, then steps k = 1..R or counts r = 0..R.

    values, clean_values, map_values, raw_values: singular values of Y P_X, W X, W and Y.
    smallest, largest: of X, (1,). std and noise_norm = ||E P_X||_2, (1,). outside:
    ||Y (I - P_X)||, (1,).
    errors, errors_spectral: of Psi_k. mismatch, mismatch_spectral: of Y*_k - Y_k, k = 1..R + 1.
    shift, shift_spectral: of s_k u_k v_k^T - c. raw_shift: of s u v^T of Y itself - c.
    residual, residual_spectral: of Y_{r+1} P_X. training: of Y_{r+1}.
    propagation, optimisation: of sum_{k<=r} (s_k u_k v_k^T - c_k) and sum_{k<=r} Psi_k, r = 1..R.
    map_error: of W minus the recovered map. component_error: of b*_k a*_k^T - b_k a_k^T.
    All are Frobenius norms unless they end in `_spectral`.
    """

    values: jax.Array
    clean_values: jax.Array
    map_values: jax.Array
    raw_values: jax.Array
    smallest: jax.Array
    largest: jax.Array
    std: jax.Array
    noise_norm: jax.Array
    outside: jax.Array
    errors: jax.Array
    errors_spectral: jax.Array
    mismatch: jax.Array
    mismatch_spectral: jax.Array
    shift: jax.Array
    shift_spectral: jax.Array
    raw_shift: jax.Array
    residual: jax.Array
    residual_spectral: jax.Array
    training: jax.Array
    propagation: jax.Array
    optimisation: jax.Array
    map_error: jax.Array
    component_error: jax.Array


def draw_runs(
    key: jax.Array,
    trials: int,
    *,
    sizes: tuple[float, float] = (1e-6, 1.0),
    shapes: tuple[str, ...] = SHAPES,
    profiles: tuple[str, ...] = PROFILES,
    std: tuple[float, float] | None = None,
    gap_std: tuple[float, float] | None = None,
    tied: bool = False,
    ranks: tuple[int, ...] = (RANK,),
) -> Run:
    """Runs of R = 5 steps on problems with (m, d, n) = (8, 7, 11) and ||W||_2 = 1.

    Args:
      key: a typed JAX key.
      trials: number of runs.
      sizes: range of the errors, uniform in the logarithm.
      shapes, profiles: those to draw from.
      std, gap_std: range of the noise (see `Setting`), uniform in the logarithm; none by default.
      tied: half of the runs get tied and zero singular values, and orthonormal inputs that keep
        them.
      ranks: of W, those to draw from.

    Raises:
      ValueError: for an unknown shape or profile.

    Example:
      >>> with jax.enable_x64(True):
      ...     draw_runs(jax.random.key(0), 32).errors.shape
      (32, 5)
    """
    for name, given, allowed in (("shapes", shapes, SHAPES), ("profiles", profiles, PROFILES)):
        if not given or not set(given) <= set(allowed):
            raise ValueError(f"{name} is {given}; allowed are some of {allowed}")
    key_run, key_numbers = jax.random.split(key)
    normal, uniform = draw_numbers(key_numbers, trials)
    is_tied = uniform[:, 1] < 0.5 * tied
    loud = log_uniform(uniform[:, 20 : 20 + RANK], *sizes)
    step = np.arange(RANK)
    masks = {"all": step >= 0, "first": step == 0, "last": step == RANK - 1}
    chosen = _one_of(uniform[:, 2], [masks[name] for name in profiles])
    setting = Setting(
        spectrum=uniform[:, 8 : 10 + RANK],
        is_tied=is_tied,
        rank=_one_of(uniform[:, 6], ranks),
        sizes=np.where(chosen, loud, np.minimum(loud, QUIET)),
        shape=_one_of(uniform[:, 3], [SHAPES.index(name) for name in shapes]),
        orthonormal=is_tied | (uniform[:, 0] < 0.5),
        std=log_uniform(uniform[:, 4], *std) if std else np.zeros(trials),
        gap_std=log_uniform(uniform[:, 5], *gap_std) if gap_std else np.zeros(trials),
        normal=normal,
    )
    return _run(jax.random.split(key_run, trials), setting)


def _one_of(uniform: np.ndarray, choices: Sequence) -> np.ndarray:
    return np.array(choices)[(uniform * len(choices)).astype(int)]


@per_instance
def _run(key: jax.Array, setting: Setting) -> Run:
    x, y, truth, noise, std = _problem(key, setting)
    right, x_values, left = jnp.linalg.svd(x, full_matrices=False)
    inverse = (left.T / x_values) @ right.T  # M X inverse = M
    projector = left.T @ left
    u, values, vt = jnp.linalg.svd(y @ projector, full_matrices=False)
    raw_u, raw_values, raw_vt = jnp.linalg.svd(y, full_matrices=False)
    exact = jnp.einsum("mk,k,kn->kmn", u, values, vt)[:RANK]
    raw = jnp.einsum("mk,k,kn->kmn", raw_u, raw_values, raw_vt)[:RANK]
    # The worst error for the next step turns the pair of triples k + 1 and k + 2.
    worst = jnp.einsum("mk,kn->kmn", u[:, 1 : RANK + 1], vt[2 : RANK + 2])
    worst += jnp.einsum("mk,kn->kmn", u[:, 2 : RANK + 2], vt[1 : RANK + 1])
    count = 2 * (ROWS + SAMPLES) + ROWS * SAMPLES
    numbers = setting.normal[: RANK * count].reshape(RANK, count)

    def step(residual, inputs):
        size, numbers, worst = inputs
        target = residual @ projector
        top_u, top, top_vt = jnp.linalg.svd(target, full_matrices=False)
        triple = top[0], top_u[:, 0], top_vt[0]
        fit = top[0] * jnp.outer(top_u[:, 0], top_vt[0])
        error = _errors(target, triple, size, numbers, worst, projector)[setting.shape]
        following = residual - (fit + error) @ inverse @ x
        return following, (following, fit, error)

    _, (later, fits, errors) = jax.lax.scan(step, y, (setting.sizes, numbers, worst))
    residuals = jnp.concatenate([y[None], later])
    ideal = y - jnp.concatenate([jnp.zeros_like(y)[None], jnp.cumsum(exact, axis=0)])
    maps = (fits + errors) @ inverse
    recovered = jnp.concatenate([jnp.zeros_like(truth)[None], jnp.cumsum(maps, axis=0)])
    return Run(
        values=values,
        clean_values=jnp.linalg.svd(truth @ x, compute_uv=False),
        map_values=jnp.linalg.svd(truth, compute_uv=False),
        raw_values=raw_values,
        smallest=x_values[-1:],
        largest=x_values[:1],
        std=std[None],
        noise_norm=jnp.linalg.norm(noise @ projector, 2)[None],
        outside=jnp.linalg.norm(y - y @ projector)[None],
        errors=norm(errors),
        errors_spectral=norm(errors, 2),
        mismatch=norm(ideal - residuals),
        mismatch_spectral=norm(ideal - residuals, 2),
        shift=norm(exact - fits),
        shift_spectral=norm(exact - fits, 2),
        raw_shift=norm(raw - fits),
        residual=norm(residuals @ projector),
        residual_spectral=norm(residuals @ projector, 2),
        training=norm(residuals),
        propagation=norm(jnp.cumsum(exact - fits, axis=0)),
        optimisation=norm(jnp.cumsum(errors, axis=0)),
        map_error=norm(truth - recovered),
        component_error=norm(exact @ inverse - maps),
    )


def _problem(key: jax.Array, setting: Setting):
    values = mixed_spectrum(setting.spectrum, RANK)
    # Five values on the levels 0, 1/3, 2/3, 1: two of them agree.
    values = jnp.where(setting.is_tied, jnp.floor(3 * values) / 3, values)
    values = jnp.where(jnp.arange(RANK) < setting.rank, values, 0)
    drawn = simulate(key, ROWS, INPUTS, SAMPLES, RANK, values, "column", noise=1.0)
    left, _, right = jnp.linalg.svd(drawn.x, full_matrices=False)
    x = jnp.where(setting.orthonormal, left @ right, drawn.x)
    clean = drawn.truth @ x
    gaps = spectral_gaps(jnp.linalg.svd(clean, compute_uv=False))[:RANK]
    std = setting.std + setting.gap_std * gaps.min()
    noise = std * drawn.noise
    return x, clean + noise, drawn.truth, noise, std


def _errors(target, triple, size, numbers, worst, projector) -> jax.Array:
    """Psi_k in all SHAPES, (5, m, n), with rows in the row space of X."""
    top, u, v = triple
    ends = itertools.accumulate([ROWS, SAMPLES, ROWS, SAMPLES])
    g, h, other_g, other_h, dense = jnp.split(numbers, list(ends))
    h, other_h = projector @ h, projector @ other_h
    pair = jnp.outer(g, h) - jnp.outer(other_g, other_h)
    # Perturbed factors sqrt(s) u and sqrt(s) v; about `size` in all, for small and large ones.
    root, delta = jnp.sqrt(top), size / jnp.sqrt(top + size)
    factors = jnp.outer(root * u + delta * unit(g), root * v + delta * unit(h))
    # A right factor at an angle, and the left one fitted to it exactly.
    turned = unit(v + size / jnp.maximum(top, QUIET) * unit(h))
    half_step = jnp.outer(target @ turned, turned)
    fit = top * jnp.outer(u, v)
    return jnp.stack(
        [
            size * unit(dense.reshape(ROWS, SAMPLES) @ projector),
            size * unit(pair),
            size * unit(worst @ projector),
            factors - fit,
            half_step - fit,
        ]
    )
