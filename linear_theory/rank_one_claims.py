"""Claims: how far the best approximation of rank one, or r, moves when the matrix is perturbed.

Legend: M (m, d) a matrix of rank r*, E its perturbation, eta = ||E||_2; s_k the singular values of
M, T_k = s_k - s_{k+1}; R_1(M) and M_(r) the best approximations of rank one and r; ||.|| is the
Frobenius norm.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from linear_theory import perturbation, truncation
from linear_theory.batching import per_instance
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.draws import draw_numbers, mixed_spectrum, unit
from linear_theory.pairs import Comparison, draw_comparisons

# Width of the finite difference in units of the gap: its error is the square of it, 1e-10.
STEP = 1e-5
draw_mixing = functools.partial(draw_comparisons, shape="mixing")


class Slopes(NamedTuple):
    """values (trials, K); slopes (trials, 3) of R_1; extremal (trials, 1) by finite difference."""

    values: jax.Array
    slopes: jax.Array
    extremal: jax.Array


def draw_slopes(key: jax.Array, trials: int) -> Slopes:
    """||R_1(M + h D) - R_1(M)||/h as h -> 0, along an extremal and two random unit directions D."""
    return _slopes(*draw_numbers(key, trials))


def _rank_one(matrix: jax.Array) -> jax.Array:
    return truncation.truncate(matrix, 1)


@per_instance
def _slopes(normal: jax.Array, uniform: jax.Array) -> Slopes:
    m, d = 5, 4
    values = mixed_spectrum(uniform, d)
    left = jnp.linalg.qr(normal[: m * d].reshape(m, d))[0]
    right = jnp.linalg.qr(normal[100 : 100 + d * d].reshape(d, d))[0]
    matrix = (left * values) @ right.T
    dense = normal[200 : 200 + m * d].reshape(m, d)
    extremal = jnp.outer(left[:, 1], right[:, 0]) + jnp.outer(left[:, 0], right[:, 1])
    tangent = jnp.outer(left[:, 0], normal[300 : 300 + d])
    tangent += jnp.outer(normal[320 : 320 + m], right[:, 0])
    directions = jnp.stack([unit(extremal), unit(dense), unit(tangent)])
    slopes = jax.vmap(lambda to: jax.jvp(_rank_one, (matrix,), (to,))[1])(directions)
    step = STEP * (values[0] - values[1])
    ends = jnp.stack([matrix + step * directions[0], matrix - step * directions[0]])
    ahead, behind = _rank_one(ends)
    difference = jnp.linalg.norm(ahead - behind) / (2 * step)
    return Slopes(values, jnp.linalg.norm(slopes, axis=(1, 2)), difference[None])


def _local_fit(slopes: Slopes, factor: float = 1.0) -> Evidence:
    prediction = factor * perturbation.gap_ratio(slopes.values)[:, :1]
    return Evidence(slopes.extremal, prediction, tolerance=1e-6 * prediction)


def _local_upper(slopes: Slopes, factor: float = 1.0) -> Evidence:
    return Evidence(slopes.slopes, factor * perturbation.gap_ratio(slopes.values)[:, :1])


def _integrated(pair: Comparison) -> Evidence:
    constant = perturbation.rank_one_integrated_constant(pair.values, pair.norm)[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm, jnp.isfinite(constant))


def _integrated_local(pair: Comparison) -> Evidence:
    local = perturbation.gap_ratio(pair.values)[:, :1] * pair.norm
    return _integrated(pair)._replace(bound=local)


def _source(pair: Comparison) -> Evidence:
    constant = perturbation.rank_one_source_constant(pair.values)[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral)


def _source_local(pair: Comparison) -> Evidence:
    constant = 0.9 * perturbation.gap_ratio(pair.values)[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral)


def _within_half_gap(pair: Comparison) -> jax.Array:
    return pair.norm_spectral <= perturbation.spectral_gaps(pair.values) / 2


def _improved(pair: Comparison) -> Evidence:
    constant = perturbation.rank_one_improved_constant(pair.values)[:, :1]
    within = _within_half_gap(pair)[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral, within)


def _improved_local(pair: Comparison) -> Evidence:
    return _source_local(pair)._replace(premise=_within_half_gap(pair)[:, :1])


def _ranks(pair: Comparison) -> jax.Array:
    return jnp.arange(1, pair.values.shape[1] + 1)


def _below_rank(pair: Comparison) -> Evidence:
    bound = truncation.truncation_bound_below_rank(pair.values, pair.norm_spectral)
    premise = (_ranks(pair) <= pair.rank) & _within_half_gap(pair)
    return Evidence(pair.shift, bound, premise)


def _below_rank_without_gap(pair: Comparison) -> Evidence:
    bound = 3 * jnp.sqrt(_ranks(pair).astype(float)) * pair.norm_spectral
    return _below_rank(pair)._replace(bound=bound)


def _above_rank(pair: Comparison) -> Evidence:
    bound = truncation.truncation_bound_above_rank(_ranks(pair), pair.rank, pair.norm_spectral)
    return Evidence(pair.error, bound, _ranks(pair) > pair.rank)


def _above_rank_halved(pair: Comparison) -> Evidence:
    bound = jnp.sqrt(_ranks(pair).astype(float)) * pair.norm_spectral
    return _above_rank(pair)._replace(bound=bound)


def _gap_free(pair: Comparison) -> Evidence:
    bound = truncation.truncation_bound_gap_free(pair.values, pair.rank, pair.norm_spectral)
    return Evidence(pair.error, bound[:, 1:])


def _tail_alone(pair: Comparison) -> Evidence:
    return Evidence(pair.error, truncation.tail_norm(pair.values)[:, 1:])


CLAIMS = (
    Claim(
        name="perturbation.rank_one_local",
        source="proved in perturbation.gap_ratio",
        statement="The best rank-one approximation moves at the rate s/T in the worst direction.",
        formula="||R_1(M + h D) - R_1(M)|| / h -> s_1/T_1, D = (u_2 v_1^T + u_1 v_2^T)/sqrt(2)",
        kind="fit",
        status="new",
        instances=draw_slopes,
        measure=_local_fit,
        control=Control(
            "sqrt(2) s/T, the rate against the spectral norm of the perturbation",
            lambda slopes: _local_fit(slopes, math.sqrt(2)),
        ),
    ),
    Claim(
        name="perturbation.rank_one_local_bound",
        source="proved in perturbation.gap_ratio",
        statement="In no direction does the best rank-one approximation move faster than s/T.",
        formula="||d/dh R_1(M + h D)|| <= (s_1/T_1) ||D||",
        kind="upper",
        status="new",
        instances=draw_slopes,
        measure=_local_upper,
        control=Control("0.9 s/T", lambda slopes: _local_upper(slopes, 0.9)),
    ),
    Claim(
        name="perturbation.rank_one_integrated",
        source="proved in perturbation.rank_one_integrated_constant",
        statement="The local constant, integrated, for perturbations up to ||E|| < T/sqrt(2).",
        formula="||R_1(M + E) - R_1(M)|| <= (L s/T + (L - 1)/sqrt(2)) ||E||,"
        " L = -ln(1 - t)/t, t = sqrt(2) ||E||/T < 1",
        kind="upper",
        status="new",
        instances=draw_comparisons,
        measure=_integrated,
        control=Control(
            "the local constant s/T at a finite distance",
            _integrated_local,
            functools.partial(draw_comparisons, shape="closing"),
        ),
    ),
    Claim(
        name="perturbation.rank_one_source",
        source="arXiv 2505.22602, lemma 3",
        statement="Best rank-one approximations of M and M + E, for T > 0 and every E.",
        formula="||R_1(M + E) - R_1(M)|| <= (1 + 6 s_1/T_1) ||E||_2",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_source,
        control=Control("0.9 s/T, below the sharp sqrt(2) s/T", _source_local, draw_mixing),
    ),
    Claim(
        name="perturbation.rank_one_improved",
        source="proved in perturbation.rank_one_improved_constant",
        statement="A smaller constant than in lemma 3, for ||E||_2 <= T/2.",
        formula="||R_1(M + E) - R_1(M)|| <= (4 s_1/T_1 - 1) ||E||_2",
        kind="upper",
        status="new",
        instances=draw_comparisons,
        measure=_improved,
        control=Control("0.9 s/T, below the sharp sqrt(2) s/T", _improved_local, draw_mixing),
    ),
    Claim(
        name="perturbation.truncation_below_rank",
        source="arXiv 2505.22602, lemma 4, first case",
        statement="Best approximations of rank r <= r* move with the noise and the gap after r.",
        formula="||(M + E)_(r) - M_(r)|| <= sqrt(r) (3 + 4 s_{r+1}/T_r) eta, eta <= T_r/2",
        kind="upper",
        status="with a condition",
        instances=draw_comparisons,
        measure=_below_rank,
        control=Control("3 sqrt(r) eta, the gap left out", _below_rank_without_gap, draw_mixing),
    ),
    Claim(
        name="perturbation.truncation_above_rank",
        source="arXiv 2505.22602, lemma 4, second case",
        statement="Best approximations of rank r > r* are off by the noise alone, with no gap.",
        formula="||(M + E)_(r) - M|| <= 2 sqrt(r + r*) eta",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_above_rank,
        control=Control(
            "sqrt(r) eta: noise counted on the kept directions",
            _above_rank_halved,
            functools.partial(draw_comparisons, shape="flat"),
        ),
    ),
    Claim(
        name="perturbation.truncation_gap_free",
        source="proved in truncation.truncation_bound_gap_free",
        statement="Bias and variance of a truncation of any rank, with no gap.",
        formula="||M - (M + E)_(r)|| <= tau_r(M) + (sqrt(r) + 2 sqrt(r*)) eta",
        kind="upper",
        status="new",
        instances=draw_comparisons,
        measure=_gap_free,
        control=Control("tau_r(M) alone, the noise left out", _tail_alone),
    ),
)
