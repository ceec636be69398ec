"""The arrays behind the figures: shapes, normalisation, and agreement with the solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deflation
from deflation import Components, Regression, alternating, budgets
from linear_theory.instances.setting import Setting
from linear_theory.parallel import workers
from linear_theory.parallel.generalization import experiment as generalization_experiment
from linear_theory.parallel.self_correction import (
    experiment_errors as self_correction_experiment_errors,
)
from linear_theory.parallel.self_correction import (
    experiment_versus as self_correction_experiment_versus,
)
from linear_theory.parallel.self_correction import (
    experiment_warm_up as self_correction_experiment_warm_up,
)
from linear_theory.sequential import descent
from linear_theory.sequential.allocation import experiment as allocation_experiment
from linear_theory.sequential.budgets import experiment as budgets_experiment
from linear_theory.sequential.budgets.experiment import first_below, staircase
from linear_theory.sequential.descent import descend, step_errors
from linear_theory.sequential.extensions import experiment as extensions_experiment
from linear_theory.sequential.noise import experiment as noise_experiment
from linear_theory.sequential.profiles import experiment as profiles_experiment

TINY = Setting(m=8, d=10, n=25, rank=3, trials=2)
SMALL = Setting(m=40, d=80, n=200, rank=8, trials=2)
SIX = Setting(m=8, d=6, n=20, rank=5, trials=3, design="orthonormal")
# Few different sizes, so that few programs are compiled.
TOTAL, LONG, ROUNDS = 18, 600, 39


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def finite(arrays):
    numeric = [v for v in arrays.values() if np.issubdtype(v.dtype, np.number)]
    return all(np.isfinite(value).all() for value in numeric)


@pytest.fixture(scope="module")
def descents():
    """Two schedules, all factors recorded: problem, truth, first factors, steps, the run."""
    with jax.enable_x64(True):
        drawn, first = TINY.draw(), TINY.first_factors()
        problem = Regression.from_data(drawn.x, drawn.y)
        steps = np.array([(9, 6, 3), (3, 6, 9)])
        run = descend(problem, drawn.truth, TINY.solver, steps, first, record="factors")
        yield problem, drawn, first, steps, run


def test_a_recorded_run_is_the_solver_run(descents):
    problem, drawn, first, steps, run = descents
    for row, trial in ((0, 0), (1, 1)):
        start = Components(first.b[trial], first.a[trial])
        budget = budgets.Budget(tuple(int(t) for t in steps[row]))
        with jax.enable_x64(True):
            solution = deflation.sequential(problem, 3, TINY.solver, budget=budget, init=start)
            residual = problem.residual(solution.components)
        final = Components(run.final.b[row, trial], run.final.a[row, trial])
        np.testing.assert_allclose(final.matrix(), solution.components.matrix(), atol=1e-10)
        np.testing.assert_allclose(run.training[row, trial, -1], residual, rtol=1e-12)
        error = np.linalg.norm(drawn.truth - solution.components.matrix())
        np.testing.assert_allclose(run.reconstruction[row, trial, -1], error, rtol=1e-12)
        expected = np.repeat(np.arange(3), steps[row])
        np.testing.assert_array_equal(run.component[row, trial], expected)


def test_schedules_are_data_and_the_end_is_the_end_of_the_curve(descents):
    problem, drawn, first, steps, run = descents
    compiled = descent._curves._cache_size()
    with jax.enable_x64(True):
        given = (problem, drawn.truth, TINY.solver)
        descend(*given, steps[::-1], first, record="factors")
        assert descent._curves._cache_size() == compiled
        end = descend(*given, steps, first, record="end")
        ended = descent._ends._cache_size()
        descend(*given, 2 * steps, first, record="end")
        assert descent._ends._cache_size() == ended
    np.testing.assert_allclose(end.training[..., 0], run.training[..., -1], rtol=1e-12)
    np.testing.assert_allclose(end.reconstruction[..., 0], run.reconstruction[..., -1], rtol=1e-12)


def test_step_errors_are_distances_to_the_exact_step(descents):
    problem, _, _, _, run = descents
    final = Components(run.final.b[0], run.final.a[0])
    every = jnp.broadcast_to(jnp.arange(3), (2, 3))
    with jax.enable_x64(True):
        result = step_errors(problem, final, final, every)
        whitened = problem.to_whitened(Components(final.b[0], final.a[0]))
    rest = np.asarray(problem.target)
    for k in range(3):
        u, s, vt = np.linalg.svd(rest)
        exact = s[0] * np.outer(u[:, 0], vt[0]) @ problem.whitener
        expected = np.linalg.norm(np.outer(final.b[0, k], final.a[0, k]) - exact)
        np.testing.assert_allclose(result[0, k], expected, rtol=1e-8)
        rest = rest - np.outer(whitened.b[k], whitened.a[k])


def test_allocation_and_its_sweep_agree():
    curves = allocation_experiment.allocation(TINY, alphas=(-1.0, 1.0), total=TOTAL)
    assert curves["reconstruction"].shape == curves["step_error"].shape == (2, 2, TOTAL)
    assert finite(curves) and (curves["steps"].sum(axis=1) == TOTAL).all()
    np.testing.assert_allclose(curves["training"][:, :, 0], 1.0, atol=0.05)
    sweep = allocation_experiment.alpha_sweep(TINY, alphas=(-1.0, 1.0), total=TOTAL)
    for name in ("reconstruction", "training", "step_error"):
        np.testing.assert_allclose(sweep[name], curves[name][..., -1], rtol=1e-9)


# Sweeps of the division above, over further totals and designs.
@pytest.mark.thorough
def test_limits_of_the_division():
    result = allocation_experiment.allocation_limits(
        TINY, alphas=(-1.0, 1.0), totals=(TOTAL,), total=TOTAL
    )
    sweep = allocation_experiment.alpha_sweep(TINY, alphas=(-1.0, 1.0), total=TOTAL)
    np.testing.assert_allclose(result["by_total"][0], sweep["reconstruction"], rtol=1e-9)
    assert result["by_design"].shape == (4, 2, 2) and finite(result)


@pytest.mark.thorough
def test_budget_and_conditioning_change_the_best_division():
    # The order of the published figure, at a size that keeps n/d and iterations per component.
    alphas = (-1.0, 0.0, 1.0)
    result = allocation_experiment.allocation_limits(
        SMALL, alphas=alphas, totals=(200, 800), total=200
    )
    assert result["by_total"].shape == (2, 3, 2) and result["by_design"].shape == (4, 3, 2)
    starved, ample = result["by_total"].mean(axis=-1)
    assert starved[0] > 1.1 * starved[1] > 1.1 * 1.1 * starved[2]
    assert ample.argmin() < 2
    # Equal scale: unit columns, unit rows and plain Gaussian X are one problem to the solver.
    column, row, gauss, orthonormal = result["by_design"].mean(axis=-1)[:, 2]
    np.testing.assert_allclose([row, gauss], column, rtol=0.2)
    assert orthonormal < column


# Sweeps of recorded runs, over spectra and levels of noise.
@pytest.mark.thorough
def test_profiles_and_noise():
    spectra = profiles_experiment.spectra(TINY)
    np.testing.assert_allclose((spectra["of_map"] ** 2).sum(axis=1), 3.0)
    noisy = noise_experiment.noise_curves(TINY, levels=(0.0, 1.0), total=TOTAL)
    assert noisy["reconstruction"].shape == (2, 2, 2, TOTAL) and finite(noisy)
    # Without noise there is no difference between dense and sparse noise.
    np.testing.assert_array_equal(noisy["training"][0, 0], noisy["training"][1, 0])
    assert (noisy["training"][0, 1] > noisy["training"][0, 0]).all(axis=-1).any()
    by_profile = profiles_experiment.profile_noise(TINY, levels=(0.0, 1.0), total=TOTAL)
    assert by_profile["error"].shape == (2, 3, 2, TOTAL) and finite(by_profile)
    np.testing.assert_allclose(by_profile["norms"][0], 10 * 3**0.5)
    exponential = by_profile["error"][:, 1] / by_profile["norms"][1]
    np.testing.assert_allclose(exponential, noisy["reconstruction"][0], rtol=1e-9)


def test_the_staircase_meets_the_curve_at_component_ends(descents):
    *_, run = descents
    errors, component = np.asarray(run.reconstruction[0]), np.asarray(run.component[0])
    stairs = staircase(errors, component, 7.0)
    ends = np.array([8, 14, 17])
    np.testing.assert_array_equal(stairs[:, ends], errors[:, ends])
    np.testing.assert_array_equal(stairs[:, 9:14], np.repeat(errors[:, 8:9], 5, axis=1))
    assert (stairs[:, :8] == 7.0).all()
    first = first_below(np.array([[3.0, 2.0, 1.0]]), [2.5, 1.0, 0.5])
    np.testing.assert_array_equal(first, [[2.0, 3.0, np.nan]])


# Read off recorded runs by the staircase, which is held above.
@pytest.mark.thorough
def test_thresholds_and_horizon():
    result = budgets_experiment.thresholds(
        TINY, levels=(1.5, 0.5), unequal=(LONG, 300, LONG), same=LONG
    )
    assert result["staircase"].shape == result["smooth"].shape == (2, 3, 2, 2)
    # A threshold is met at a component's end no sooner than on the way.
    both = np.isfinite(result["staircase"])
    assert both.any() and (result["staircase"] >= result["smooth"])[both].all()
    same = result["staircase"][:, [0, 2]]
    np.testing.assert_array_equal(same[0], same[1])
    assert np.nanmax(result["smooth"][0, 1]) <= 300
    horizon = budgets_experiment.horizon(TINY, totals=(12, 60), orders=("more", "less"))
    assert horizon["reconstruction"].shape == (2, 2, 2)
    assert (horizon["reconstruction"][1] < horizon["reconstruction"][0]).all()


def test_a_component_that_stalls_passes_its_iterations_on(x64):
    drawn, first = TINY.draw(), TINY.first_factors()
    problem = Regression.from_data(drawn.x, drawn.y)
    given = (problem, drawn.truth, TINY.solver, np.array([[LONG // 3] * 3]), first)
    run = descend(*given, stop=1e9)
    # Nothing has a last value to stall against in its very first iteration.
    np.testing.assert_array_equal(run.component[0, 0, :5], [0, 0, 1, 2, 3])
    assert (run.training[0, :, 3:] == run.training[0, :, 3:4]).all()


def test_followed_workers_are_the_solver_run(x64):
    problem = workers.problem_of(SIX, 0.5 ** np.arange(5))
    keys = SIX.trial_keys()
    run = workers.follow(problem, 3, alternating(), keys, rounds=ROUNDS)
    assert run.error.shape == run.private.shape == (3, ROUNDS, 3)
    solution = deflation.parallel(problem, 3, rounds=9, key=keys[1])
    errors = problem.component_errors(solution.components, deflation.exact(problem, 3).components)
    np.testing.assert_allclose(run.error[1, 8], errors, rtol=1e-9)
    # Staggered: worker 3 shows nothing before round 3, and works in private.
    np.testing.assert_allclose(run.error[:, :2, 2], 1.0, rtol=1e-12)
    assert (abs(run.private[:, 1, 2] - 1) > 1e-6).all()
    np.testing.assert_array_equal(run.work[0], 3 * np.arange(1, ROUNDS + 1))


# Both runs are held above; that one freezes, tests/deflation/test_ways.py holds.
@pytest.mark.thorough
def test_sequential_freezes_and_parallel_does_not():
    each = ROUNDS // 3
    result = self_correction_experiment_versus.versus_sequential(
        SIX, spectra=("geometric",), workers=3, each=each
    )
    sequential, parallel = result["sequential_error"][0], result["parallel_error"][0]
    assert sequential.shape == parallel.shape == (3, ROUNDS, 3)
    assert (sequential[:, each:, 0] == sequential[:, each - 1 : each, 0]).all()
    assert (parallel[:, -1, 0] < 1e-2 * parallel[:, each - 1, 0]).all()
    np.testing.assert_array_equal(result["sequential_work"], np.arange(1, ROUNDS + 1))
    np.testing.assert_array_equal(result["parallel_work"][:4], [1, 3, 6, 9])


def test_advance_learning_compares_at_one_round():
    result = self_correction_experiment_versus.advance_learning(
        SIX, spectra=("geometric",), sweeps=(1,), workers=3, rounds=ROUNDS, target=1e-3
    )
    assert result["ratio"].shape == result["saved"].shape == (1, 1, 3, 2) and finite(result)
    rounds = (result["without"][..., 1:] < 1e-3).argmax(axis=1)
    for trial in range(3):
        for worker in range(2):
            at = (trial, rounds[trial, worker], 1 + worker)
            expected = result["with"][at] / result["without"][at]
            assert result["ratio"][0, 0, trial, worker] == pytest.approx(expected)


def test_workers_wait_no_longer_than_proved():
    result = self_correction_experiment_warm_up.warm_up_against_gap(
        SIX, gaps=(0.3, 0.02), ratios=(0.6,), workers=3, rounds=ROUNDS
    )
    assert result["measured"].shape == (2, 3) and result["measured_workers"].shape == (1, 3, 3)
    assert finite(result)
    for name in ("sharp", "lambert_1", "lambert_6", "theorem"):
        assert (result["measured"] <= np.ceil(result[name])).all()
    assert (result["measured_workers"] <= result["theorem_workers"]).all()
    assert (result["measured"][1] > result["measured"][0]).all()


# The claims self_correction.* hold the envelope.
@pytest.mark.thorough
def test_errors_stay_below_the_envelope():
    result = self_correction_experiment_errors.parallel_errors(Setting(trials=4), rounds=48)
    error, above = result["error"], result["error"] > 1e-12
    assert error.shape == result["envelope"].shape == result["settled"].shape == (4, 49, 4)
    assert (error <= result["envelope"] * (1 + 1e-9))[above].all()
    assert (error <= result["settled"])[above].all()
    assert np.isfinite(result["envelope"]).mean() > 0.5
    np.testing.assert_allclose(result["late_rate"], 0.36)


# The claims generalization.* hold the floors.
@pytest.mark.thorough
def test_noise_floor_and_best_rank():
    reference = Setting(m=12, d=10, n=30, rank=2, trials=300, design="orthonormal")
    result = generalization_experiment.floor(reference, values=(3.0, 2.0), levels=(0.02, 0.05))
    mean = result["squared_error"].mean(axis=1)
    stderr = result["squared_error"].std(axis=1) / 300**0.5
    np.testing.assert_allclose(result["first_order"], result["levels"] ** 2 * 2 * (12 + 10 - 2))
    assert (result["two_terms"] > result["first_order"]).all()
    assert (abs(mean - result["two_terms"]) < 4 * stderr + 0.01 * mean).all()
    by_rank = generalization_experiment.best_rank(TINY, levels=(0.0, 20.0), shown=(0.0, 20.0))
    assert by_rank["error"].shape == (2, 2, 4)
    np.testing.assert_allclose(by_rank["error"][0, :, 2], 0.0, atol=1e-10)
    assert (by_rank["error"][1].argmin(axis=1) < 2).all()


# Full-rank steps tests/deflation/test_extensions.py holds.
@pytest.mark.thorough
def test_extensions_charge_their_work():
    result = extensions_experiment.extensions(
        TINY, total=TOTAL, each=2, options=("full-rank steps",)
    )
    assert result["gradient_training"].shape == (1, 2, TOTAL) and finite(result)
    assert result["gradient_work"][0, -1] == TOTAL + 1 + 2 + 3
    # One joint least-squares step with as many components as the true rank is exact.
    training = result["gradient_training"][0]
    assert training[:, -1].max() < 1e-8 and training[:, -2].min() > 1e-3
