"""Claims: the exact reduction, and what is exact about parallel and sequential deflation.

Legend: as in `self_correction` and `measured_run`; S = X X^T.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

import deflation
from deflation import Components
from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.parallel.measured_run import run
from linear_theory.parallel.problems import RANK, VALUES, Problem, draw
from linear_theory.parallel.self_correction import sample_form
from linear_theory.parallel.trajectory import ROUNDS

# Rounding of sums of some hundred products, relative to their size.
ROUNDING = 1e-13
# Two programs for one algorithm, each round of which may double a difference of ten eps.
AGREEMENT_ROUNDS = 12
AGREEMENT = 10 * 2**AGREEMENT_ROUNDS * np.finfo(float).eps
EXACT_SWEEPS = 60
# Rounding in units of s_k, of which the smallest is 0.3^3 or more.
EXACT = 10 * ROUNDING


@jax.jit
def _square_error(problem: Problem, components: Components) -> jax.Array:
    solve = jax.vmap(lambda regression, given: regression.residual(given) ** 2)
    return solve(problem.regression, components)


def _reduction(problem, whitened: bool = True) -> Evidence:
    """Random models W = sum_k b_k a_k^T, in samples and reduced."""
    b, a = (np.asarray(rows) for rows in problem.first)
    b = b + a[:, :, :1]  # cold factors have b = 0
    x, y = np.asarray(problem.x), np.asarray(problem.y)
    model = np.swapaxes(b, 1, 2) @ a @ x
    in_samples = np.sum((y - model) ** 2, axis=(1, 2))
    components = Components(jnp.asarray(b), jnp.asarray(a))
    if not whitened:
        cross = jnp.asarray(y @ np.swapaxes(x, 1, 2))
        regression = problem.regression._replace(target=cross)
        problem = problem._replace(regression=regression)
    reduced = np.asarray(_square_error(problem, components))
    scale = np.sum(y**2, axis=(1, 2)) + np.sum(model**2, axis=(1, 2))
    return Evidence(np.abs(in_samples - reduced) / scale, ROUNDING)


def _fitted_spectrum(problem, of_output: bool = True) -> Evidence:
    x, y = np.asarray(problem.x), np.asarray(problem.y)
    q = np.linalg.qr(np.swapaxes(x, 1, 2))[0]
    if of_output:
        matrix = y @ q @ np.swapaxes(q, 1, 2)
    else:
        matrix = y @ np.linalg.pinv(x)
    values = np.linalg.svd(matrix, compute_uv=False)[:, :VALUES]
    return Evidence(np.abs(values - np.asarray(problem.values)), ROUNDING)


@functools.partial(jax.jit, static_argnames="rounds")
def _first_and_last(regression, solver, rounds: int):
    """First factors and the components of `deflation.parallel`, both in original coordinates."""

    def solve(regression, solver):
        start = deflation.start(regression, RANK, solver)
        solution = deflation.finish(deflation.advance(start, rounds), certify=False)
        return regression.to_original(start.progress.factors), solution.components

    return jax.vmap(solve)(regression, solver)


def _reduced_form(problem, jacobi: bool = True) -> Evidence:
    x, y = np.asarray(problem.x), np.asarray(problem.y)
    step = 0.3 / np.linalg.norm(x, 2, axis=(1, 2))[:, None] ** 2
    descent = GradientDescent(jnp.asarray(step[:, 0]), coordinates="original")
    errors = []
    for solver, stepper in (
        (deflation.alternating(), sample_form.alternating_step),
        (descent, sample_form.descent_step(step)),
    ):
        first, last = _first_and_last(problem.regression, solver, AGREEMENT_ROUNDS)
        expected = sample_form.parallel(x, y, *first, stepper, AGREEMENT_ROUNDS, jacobi)
        difference = _outputs(x, *last) - _outputs(x, *expected)
        errors.append(np.linalg.norm(difference, axis=(2, 3)))
    return Evidence(np.concatenate(errors, axis=1), AGREEMENT)


def _outputs(x, b, a) -> np.ndarray:
    """b_k a_k^T X for every worker (trials, r, m, n)."""
    return np.asarray(b)[..., None] * (np.asarray(a) @ x)[:, :, None]


def _well_separated(uniform: np.ndarray) -> np.ndarray:
    """Random ratios in (0.3, 0.6): EXACT_SWEEPS sweeps leave nothing."""
    ratios = 0.3 + 0.3 * uniform[:, 2 : 1 + VALUES]
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def _draw_well_separated(key, trials):
    return draw(key, trials, _well_separated)


def _exact_solver(problem, early: int = 0) -> Evidence:
    """Workers do not refine before they publish: an exact solver would take them to the component
    of a predecessor, which is then subtracted and leaves no direction to go on from."""
    solver = deflation.alternating(EXACT_SWEEPS)
    current = run(problem, solver, rounds=RANK + 1, advance=False)
    rounds, worker = np.arange(RANK + 2)[None, :, None], np.arange(1, RANK + 1)
    return Evidence(current.relative, EXACT, (rounds >= worker - early) & (rounds >= 1))


def _frozen(problem, method: str = "sequential") -> Evidence:
    """Largest later change of an error after the worker's slot of rounds."""
    error = run(problem, method=method).trajectory.error
    slot = ROUNDS // RANK
    ends = slot * np.arange(1, RANK)
    changes = [np.abs(error[:, e:, k] - error[:, e : e + 1, k]).max(1) for k, e in enumerate(ends)]
    return Evidence(np.stack(changes, axis=1), 0.0)


def _tied(uniform: np.ndarray) -> np.ndarray:
    """s_2 = s_3, all other ratios in (0.3, 0.6)."""
    ratios = 0.3 + 0.3 * uniform[:, 2 : 1 + VALUES]
    ratios[:, 1] = 1.0
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def _draw_tied(key, trials):
    return draw(key, trials, _tied)


def _interior_tie(problem, of_sum: bool = True) -> Evidence:
    current = run(problem)
    if not of_sum:
        return Evidence(current.trajectory.error[:, -1].max(axis=1), ROUNDING)
    b, a = (rows[:, -1] for rows in current.trajectory.factors)
    left, right = np.asarray(problem.left), np.asarray(problem.right)
    best = (left * current.values[:, None])[..., :RANK] @ np.swapaxes(right[..., :RANK], 1, 2)
    error = np.linalg.norm(np.swapaxes(b, 1, 2) @ a - best, axis=(1, 2))
    return Evidence(error, ROUNDING)


CLAIMS = (
    Claim(
        name="self_correction.reduction",
        source="Izenman 1975; arXiv 2605.10741 in matrix form",
        statement="Fixed-design regression is matrix approximation of the whitened target.",
        formula="||Y - W X||^2 = ||Y (I - P_X)||^2 + ||Y X^T S^{-1/2} - W S^{1/2}||^2",
        kind="identity",
        status="as printed",
        instances=draw,
        measure=_reduction,
        control=Control(
            "the cross moments Y X^T in place of the whitened target",
            lambda problem: _reduction(problem, whitened=False),
        ),
    ),
    Claim(
        name="self_correction.fitted_spectrum",
        source="arXiv 2505.22602, section 4, whose singular values are those of Y",
        statement="The spectrum that deflation works on is that of the fitted output.",
        formula="s_k(Y X^T S^{-1/2}) = s_k(Y P_X)",
        kind="identity",
        status="with a condition",
        instances=draw,
        measure=_fitted_spectrum,
        control=Control(
            "singular values of the least-squares map Y X^+",
            lambda problem: _fitted_spectrum(problem, of_output=False),
        ),
    ),
    Claim(
        name="self_correction.reduced_form",
        source="arXiv 2502.17615, algorithm 1; arXiv 2605.10741",
        statement="`deflation.parallel` is Algorithm 1 written out in samples, for alternating "
        "steps and for gradient descent in original coordinates.",
        formula="R_k X of the reduced run = R_k X of the run on (X, Y)",
        kind="identity",
        status="as printed",
        instances=draw,
        measure=_reduced_form,
        control=Control(
            "predecessors of the same round (Gauss-Seidel)",
            lambda problem: _reduced_form(problem, jacobi=False),
        ),
    ),
    Claim(
        name="self_correction.exact_solver",
        source="arXiv 2502.17615, section 3",
        statement="With an exact rank-one solver worker k is exact from round k on.",
        formula="G_{k,l} = 0 for l >= k",
        kind="identity",
        status="as printed",
        instances=_draw_well_separated,
        measure=_exact_solver,
        control=Control(
            "already from round k - 1 on", lambda problem: _exact_solver(problem, early=1)
        ),
    ),
    Claim(
        name="self_correction.sequential_freezes",
        source="arXiv 2605.10741, sequential against parallel deflation",
        statement="In sequential deflation the error of a component never changes after its own "
        "rounds.",
        formula="E_{k,l} = E_{k,k L/r} for l >= k L/r",
        kind="identity",
        status="as printed",
        instances=draw,
        measure=_frozen,
        control=Control("in parallel deflation", lambda problem: _frozen(problem, "parallel")),
    ),
    Claim(
        name="self_correction.interior_tie",
        source="observed here; Eckart and Young 1936 for the limit",
        statement="Two equal singular values inside the first r leave the components undetermined "
        "and the sum of the components exact.",
        formula="sum_{k<=r} R_{k,l} -> M_(r) if s_r > s_{r+1}",
        kind="identity",
        status="new",
        instances=_draw_tied,
        measure=_interior_tie,
        control=Control(
            "the same of the single components",
            lambda problem: _interior_tie(problem, of_sum=False),
        ),
    ),
)
