"""Claims: the classical perturbation theorems, on random and extremal pairs of matrices.

Legend: M (m, d) a matrix and E its perturbation; s_k(M) singular values, largest first; M_(r) the
best approximation of rank r, tau_r(M) its Frobenius error; ||.|| Frobenius, ||.||_2 spectral norm.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.perturbation.instances import Comparison, draw_comparisons
from linear_theory.perturbation.theory import sin_theta_bound
from linear_theory.perturbation.truncation import tail_norm

# Perturbations that turn singular vectors, where a wrong gap shows.
draw_mixing = functools.partial(draw_comparisons, shape="mixing")


def _eckart_young_frobenius(pair: Comparison, rank_shift: int = 0) -> Evidence:
    # The truncated M + E is a competitor of rank r as close to the optimum as E is small.
    tail = np.asarray(tail_norm(pair.values))
    return Evidence(pair.error, tail[:, 1 - rank_shift : tail.shape[1] - rank_shift])


def _eckart_young_spectral(pair: Comparison, rank_shift: int = 0) -> Evidence:
    padded = np.pad(pair.values, ((0, 0), (0, 1)))
    return Evidence(pair.error_spectral, padded[:, 1 - rank_shift : padded.shape[1] - rank_shift])


def _weyl(pair: Comparison, factor: float = 1.0) -> Evidence:
    return Evidence(np.abs(pair.values - pair.moved_values), factor * pair.norm_spectral)


def _mirsky(pair: Comparison) -> Evidence:
    shift = np.linalg.norm(pair.values - pair.moved_values, axis=1, keepdims=True)
    return Evidence(shift, pair.norm)


def _mirsky_spectral(pair: Comparison) -> Evidence:
    return _mirsky(pair)._replace(bound=pair.norm_spectral)


def _davis_kahan(pair: Comparison, after: int = 1) -> Evidence:
    return _sin_theta(
        pair.eigen_sines, pair.eigen_residual, pair.eigenvalues, pair.moved_eigenvalues, after
    )


def _wedin_subspace(pair: Comparison, after: int = 1) -> Evidence:
    return _sin_theta(pair.sines, pair.residual, pair.values, pair.moved_values, after)


def _wedin(pair: Comparison, after: int = 1) -> Evidence:
    gap = pair.moved_values[:, :1] - pair.values[:, after : after + 1]
    honest = pair.moved_values[:, :1] > pair.values[:, 1:2]
    return Evidence(
        pair.sines[:, :1], np.asarray(sin_theta_bound(pair.moved_residual, gap)), honest
    )


def _sin_theta(sines, residual, values, moved_values, after: int) -> Evidence:
    """Spaces of dimension r against the gap to value r + after; the last space has no gap."""
    inner = slice(0, values.shape[1] - 1)
    beyond = np.pad(moved_values, ((0, 0), (0, after)))[:, after:][:, inner]
    next_one = moved_values[:, 1:]
    bound = np.asarray(sin_theta_bound(residual[:, inner], values[:, inner] - beyond))
    return Evidence(sines[:, inner], bound, values[:, inner] > next_one)


CLAIMS = (
    Claim(
        name="perturbation.eckart_young_frobenius",
        source="Eckart and Young 1936",
        statement="No matrix of rank r is closer in Frobenius norm than the tail after r.",
        formula="||M - N|| >= tau_r(M) = (sum_{i > r} s_i^2)^{1/2}, rank N <= r",
        kind="lower",
        status="as printed",
        instances=draw_comparisons,
        measure=_eckart_young_frobenius,
        control=Control(
            "the tail starts one value earlier: tau_{r-1}",
            lambda pair: _eckart_young_frobenius(pair, 1),
        ),
    ),
    Claim(
        name="perturbation.eckart_young_spectral",
        source="Mirsky 1960, theorem 2",
        statement="No matrix of rank r is closer in spectral norm than the next singular value.",
        formula="||M - N||_2 >= s_{r+1}(M), rank N <= r",
        kind="lower",
        status="as printed",
        instances=draw_comparisons,
        measure=_eckart_young_spectral,
        control=Control("s_r in place of s_{r+1}", lambda pair: _eckart_young_spectral(pair, 1)),
    ),
    Claim(
        name="perturbation.weyl",
        source="Weyl 1912; arXiv 2505.22602, appendix",
        statement="A singular value moves by at most the spectral norm of the perturbation.",
        formula="|s_k(M) - s_k(M + E)| <= ||E||_2",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_weyl,
        control=Control("0.9 ||E||_2: the constant 1 is sharp", lambda pair: _weyl(pair, 0.9)),
    ),
    Claim(
        name="perturbation.mirsky",
        source="Mirsky 1960, theorem 5",
        statement="All singular values together move by at most the Frobenius norm.",
        formula="(sum_k (s_k(M) - s_k(M + E))^2)^{1/2} <= ||E||",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_mirsky,
        control=Control("the spectral norm on the right", _mirsky_spectral),
    ),
    Claim(
        name="perturbation.davis_kahan",
        source="Davis and Kahan 1970, sin Theta theorem",
        statement="Top eigenspaces of symmetric A = M^T M and A + H, if their gap is positive.",
        formula="||sin Theta(V_r, V'_r)|| <= ||H V_r|| / (l_r(A) - l_{r+1}(A + H))",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_davis_kahan,
        control=Control(
            "the gap to l_{r+2}(A + H)", lambda pair: _davis_kahan(pair, 2), draw_mixing
        ),
    ),
    Claim(
        name="perturbation.wedin",
        source="Wedin 1972, equation (3.1)",
        statement="Top singular pair of M and of M + E, if s_1(M + E) > s_2(M).",
        formula="(sin^2 t_u + sin^2 t_v)^{1/2} <= (||E v'||^2 + ||E^T u'||^2)^{1/2}"
        " / (s_1(M + E) - s_2(M)), u' v' of M + E",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_wedin,
        control=Control("the gap to s_3(M)", lambda pair: _wedin(pair, 2), draw_mixing),
    ),
    Claim(
        name="perturbation.wedin_subspace",
        source="Wedin 1972, equation (3.1)",
        statement="Top singular spaces of M and M + E, if s_r(M) > s_{r+1}(M + E).",
        formula="(||sin Theta_U||^2 + ||sin Theta_V||^2)^{1/2}"
        " <= (||E V_r||^2 + ||E^T U_r||^2)^{1/2} / (s_r(M) - s_{r+1}(M + E))",
        kind="upper",
        status="as printed",
        instances=draw_comparisons,
        measure=_wedin_subspace,
        control=Control(
            "the gap to s_{r+2}(M + E)", lambda pair: _wedin_subspace(pair, 2), draw_mixing
        ),
    ),
)
