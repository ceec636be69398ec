"""Claims: what an infinitesimal error becomes, and why exact half-steps end exactly.

Legend: Y (m, d) a matrix (X = I), s_k, u_k, v_k its singular triples, T_k = s_k - s_{k+1};
Y_2 = Y - R(Y) - Psi_1 after a first step with error Psi_1, later steps exact; Y*_k the residuals
without that error; r* = rank Y. Norms are Frobenius norms.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.draws import draw_numbers, mixed_spectrum
from linear_theory.perturbation.theory import gap_ratio
from linear_theory.perturbation.truncation import truncate
from linear_theory.sequential.cascade import theory as cascade

ROWS = COLUMNS = 4
# Step of the central difference in units of the smallest gap: its error is the square of it, times
# a ratio of derivatives of order one.
STEP = 1e-4
TOLERANCE = 10 * STEP**2

# Sizes of the alternating runs, and the largest number of sweeps in a step.
HEIGHT, WIDTH, RANK, SWEEPS = 7, 6, 4, 3


class Jacobians(NamedTuple):
    """values (trials, 4); any, rank_one (trials, 2): norms of Psi_1 -> Y_k for k = 3, 4.

    `any` is over all Psi_1 and `rank_one` over differences of rank-one matrices. components
    (trials, 2): norms of Psi_1 -> R(Y_k) for k = 2, 3, over all Psi_1.
    """

    values: jax.Array
    any: jax.Array
    rank_one: jax.Array
    components: jax.Array


class Terminations(NamedTuple):
    """values of Y (trials, r*); residual (trials, 4, 6): singular values after each step."""

    values: jax.Array
    residual: jax.Array


def draw_jacobians(key: jax.Array, trials: int) -> Jacobians:
    """Operator norms of the derivative of the residuals with respect to the first error."""
    return _jacobians(*draw_numbers(key, trials))


@per_instance
def _jacobians(normal: jax.Array, uniform: jax.Array) -> Jacobians:
    values = mixed_spectrum(uniform, ROWS)
    size = ROWS * COLUMNS
    u = jnp.linalg.qr(normal[:size].reshape(ROWS, ROWS))[0]
    v = jnp.linalg.qr(normal[100 : 100 + size].reshape(COLUMNS, COLUMNS))[0]
    second = (u[:, 1:] * values[1:]) @ v[:, 1:].T
    step = STEP * _smallest_gap(values)

    def residuals(error):
        third = second - error - truncate(second - error, 1)
        return jnp.stack([third, third - truncate(third, 1)])

    # Coordinates in the singular basis, where entries with an index 1 are tangent to rank one.
    units = jnp.eye(size).reshape(size, ROWS, COLUMNS)
    errors = step * jnp.einsum("mi,aij,dj->amd", u, units, v)
    ahead, behind = jax.lax.map(lambda e: (residuals(e), residuals(-e)), errors)
    columns = ((ahead - behind) / (2 * step)).reshape(size, 2, size)
    tangent = (units[:, 0].sum(axis=1) + units[:, :, 0].sum(axis=1) > 0)[:, None, None]
    # R(Y_2) = Y_2 - Y_3, of which Y_2 moves by -Psi_1, and R(Y_3) = Y_3 - Y_4.
    steps = jnp.einsum("mi,aij,dj->amd", u, units, v).reshape(size, size)
    taken = jnp.stack([-steps - columns[:, 0], columns[:, 0] - columns[:, 1]], axis=1)
    norms = (_operator_norms(part) for part in (columns, columns * tangent, taken))
    return Jacobians(values, *norms)


def _smallest_gap(values) -> jax.Array:
    return jnp.min(values - jnp.append(values[..., 1:], jnp.zeros_like(values[..., :1]), -1), -1)


def _operator_norms(columns: jax.Array) -> jax.Array:
    return jnp.linalg.norm(jnp.swapaxes(columns, 0, 1), 2, axis=(1, 2))


def draw_terminations(key: jax.Array, trials: int) -> Terminations:
    """Four steps of alternating least squares, 1 to 3 sweeps each, on matrices of rank 4."""
    return _terminations(*draw_numbers(key, trials), np.ones(trials))


def draw_shortened(key: jax.Array, trials: int) -> Terminations:
    """The same with the last least-squares half-step shortened to nine tenths."""
    return _terminations(*draw_numbers(key, trials), np.full(trials, 0.9))


@per_instance
def _terminations(normal: jax.Array, uniform: jax.Array, share: jax.Array) -> Terminations:
    values = mixed_spectrum(uniform[RANK:], RANK)
    u = jnp.linalg.qr(normal[: HEIGHT * RANK].reshape(HEIGHT, RANK))[0]
    v = jnp.linalg.qr(normal[100 : 100 + WIDTH * RANK].reshape(WIDTH, RANK))[0]
    target = (u * values) @ v.T
    starts = normal[200 : 200 + RANK * HEIGHT].reshape(RANK, HEIGHT)
    sweeps = 1 + (SWEEPS * uniform[:RANK]).astype(int)

    def step(residual, inputs):
        b, count = inputs

        def sweep(t, b):
            a = residual.T @ b / (b @ b)
            return jnp.where(t < count, residual @ a / (a @ a), b)

        b = jax.lax.fori_loop(0, SWEEPS - 1, sweep, b)
        a = residual.T @ b / (b @ b)
        b = share * residual @ a / (a @ a)
        residual = residual - jnp.outer(b, a)
        return residual, jnp.linalg.svd(residual, compute_uv=False)

    _, residuals = jax.lax.scan(step, target, (starts, sweeps))
    return Terminations(values, residuals)


def _supremum(jacobians: Jacobians) -> Evidence:
    prediction = np.asarray(cascade.first_order_mismatch(jacobians.values))[:, 2:]
    return Evidence(jacobians.any, prediction, tolerance=TOLERANCE * prediction)


def _supremum_product(jacobians: Jacobians) -> Evidence:
    factors = np.maximum(1, np.asarray(gap_ratio(jacobians.values))[:, 1:3] - 1)
    first = np.asarray(cascade.first_order_mismatch(jacobians.values))[:, 1:2]
    prediction = first * np.cumprod(factors, axis=1)
    return Evidence(jacobians.any, prediction, tolerance=TOLERANCE * prediction)


def _supremum_rank_one(jacobians: Jacobians) -> Evidence:
    # The derivative has norm one whatever the error is: the difference only rounds, by eps s_1.
    eps = np.finfo(jacobians.values.dtype).eps
    tolerance = 10 * eps / (STEP * _smallest_gap(jacobians.values)[:, None])
    return Evidence(jacobians.rank_one, 1.0, tolerance=tolerance)


def _supremum_rank_one_any(jacobians: Jacobians) -> Evidence:
    prediction = np.asarray(cascade.first_order_mismatch(jacobians.values))[:, 2:]
    return Evidence(jacobians.rank_one, prediction, tolerance=TOLERANCE * prediction)


def _component(jacobians: Jacobians, smallest_gap: bool = False) -> Evidence:
    prediction = np.asarray(cascade.first_order_component(jacobians.values))[:, 1:3]
    if smallest_gap:
        gaps = -np.diff(jacobians.values, axis=1)
        prediction = jacobians.values[:, 1:3] / np.minimum.accumulate(gaps, axis=1)[:, 1:3]
    return Evidence(jacobians.components, prediction, tolerance=TOLERANCE * prediction)


def _termination(run: Terminations) -> Evidence:
    # Rounding of a step, s_1 eps, relative to the smallest singular value it divides by.
    eps = np.finfo(run.values.dtype).eps
    tolerance = 100 * eps * run.values[:, :1] ** 2 / run.values[:, -1:]
    return Evidence(np.linalg.norm(run.residual[:, -1], axis=1)[:, None], tolerance)


def _ranks(run: Terminations) -> Evidence:
    # Singular values interlace, so that none falls below the smallest of Y before it vanishes.
    cut = 1e-6 * run.values[:, None, -1:]
    ranks = np.sum(run.residual > cut, axis=2)
    return Evidence(ranks, RANK - 1.0 - np.arange(RANK)[None], tolerance=0.0)


CLAIMS = (
    Claim(
        name="cascade.first_order_mismatch",
        source="proved in cascade.first_order_mismatch",
        statement="An infinitesimal error of the first step reaches Y_k with one factor, k >= 3,"
        " not with a product.",
        formula="sup ||Y*_k - Y_k|| / ||Psi_1|| -> max(1, s_k/T_{k-1})",
        kind="fit",
        status="new",
        instances=draw_jacobians,
        measure=_supremum,
        control=Control("the product prod_{2<j<=k} max(1, s_j/T_{j-1})", _supremum_product),
    ),
    Claim(
        name="cascade.first_order_rank_one",
        source="proved in cascade.first_order_mismatch",
        statement="The infinitesimal error of a rank-one step is never amplified, k >= 3.",
        formula="sup ||Y*_k - Y_k|| / ||Psi_1|| -> 1, Psi_1 = b a^T X - R(Y_1)",
        kind="fit",
        status="new",
        instances=draw_jacobians,
        measure=_supremum_rank_one,
        control=Control("the factor of an arbitrary error", _supremum_rank_one_any),
    ),
    Claim(
        name="cascade.first_order_component",
        source="proved in cascade.first_order_component; Liao et al. 2023, quoted in "
        "arXiv 2605.10741, have the smallest of all gaps up to k",
        statement="An infinitesimal error of the first step moves component k by the two gaps "
        "around it, k = 2, 3, whatever the gaps before are.",
        formula="sup ||R(Y_k) - R_k|| / ||Psi_1|| -> max(s_k/T_k, s_k/T_{k-1}), k >= 3",
        kind="fit",
        status="new",
        instances=draw_jacobians,
        measure=_component,
        control=Control(
            "s_k over the smallest gap up to k", functools.partial(_component, smallest_gap=True)
        ),
    ),
    Claim(
        name="cascade.exact_termination",
        source="Wedderburn 1934",
        statement="Alternating least squares with any number of sweeps per step ends with a zero"
        " residual after r* steps, noiseless.",
        formula="Y_{r*+1} = 0",
        kind="identity",
        status="new",
        instances=draw_terminations,
        measure=_termination,
        control=Control("the last half-step shortened to 0.9", _termination, draw_shortened),
    ),
    Claim(
        name="cascade.rank_reduction",
        source="Wedderburn 1934",
        statement="A rank-one step that ends with an exact least-squares half-step lowers the rank"
        " of the residual by exactly one.",
        formula="rank Y_{k+1} = r* - k",
        kind="fit",
        status="new",
        instances=draw_terminations,
        measure=_ranks,
        control=Control("the last half-step shortened to 0.9", _ranks, draw_shortened),
    ),
)
