"""Claims: how far the best rank-one approximation moves when the matrix is perturbed.

Legend: M (m, d) a matrix, E its perturbation; s_k the singular values of M, T_k = s_k - s_{k+1};
R_1(M) the best rank-one approximation; ||.|| is the Frobenius norm.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.draws import draw_numbers, mixed_spectrum, unit
from linear_theory.perturbation import theory as perturbation
from linear_theory.perturbation.instances import Comparison, draw_comparisons
from linear_theory.perturbation.truncation import truncate

# Width of the finite difference in units of the gap: its error is the square of it, 1e-10, times a
# ratio of derivatives of order one; rounding adds eps s/(STEP T), the same for s/T = 5.
STEP = 1e-5
TOLERANCE = 100 * STEP**2
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
    return truncate(matrix, 1)


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
    prediction = factor * np.asarray(perturbation.gap_ratio(slopes.values))[:, :1]
    return Evidence(slopes.extremal, prediction, tolerance=TOLERANCE * prediction)


def _local_upper(slopes: Slopes, factor: float = 1.0) -> Evidence:
    return Evidence(
        slopes.slopes, factor * np.asarray(perturbation.gap_ratio(slopes.values))[:, :1]
    )


def _integrated(pair: Comparison) -> Evidence:
    constant = np.asarray(perturbation.rank_one_integrated_constant(pair.values, pair.norm))[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm, np.isfinite(constant))


def _integrated_local(pair: Comparison) -> Evidence:
    local = np.asarray(perturbation.gap_ratio(pair.values))[:, :1] * pair.norm
    return _integrated(pair)._replace(bound=local)


def _source(pair: Comparison) -> Evidence:
    constant = np.asarray(perturbation.rank_one_source_constant(pair.values))[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral)


def _source_local(pair: Comparison) -> Evidence:
    constant = 0.9 * np.asarray(perturbation.gap_ratio(pair.values))[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral)


def within_half_gap(pair: Comparison) -> np.ndarray:
    """Whether ||E||_2 <= T_r/2, (trials, K), r = 1..K."""
    return pair.norm_spectral <= np.asarray(perturbation.spectral_gaps(pair.values)) / 2


def _improved(pair: Comparison) -> Evidence:
    constant = np.asarray(perturbation.rank_one_improved_constant(pair.values))[:, :1]
    within = within_half_gap(pair)[:, :1]
    return Evidence(pair.shift[:, :1], constant * pair.norm_spectral, within)


def _improved_local(pair: Comparison) -> Evidence:
    return _source_local(pair)._replace(premise=within_half_gap(pair)[:, :1])


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
)
