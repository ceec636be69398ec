import jax
import numpy as np
import pytest

from linear_theory.sequential.cascade import instances as inexact

TRIALS = 32
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_without_errors_the_run_is_the_truncated_svd():
    run = inexact.draw_runs(KEY, TRIALS, sizes=(1e-300, 1e-299))
    tails = np.sqrt(np.cumsum(np.asarray(run.values)[:, ::-1] ** 2, axis=1))[:, ::-1]
    np.testing.assert_allclose(run.residual, tails[:, : inexact.RANK + 1], atol=1e-9)
    assert float(run.mismatch.max()) < 1e-9 and float(run.component_error.max()) < 1e-9
    np.testing.assert_allclose(run.map_error[:, -1], 0, atol=1e-9)


def test_without_noise_all_targets_are_fitted():
    run = inexact.draw_runs(KEY, TRIALS)
    np.testing.assert_allclose(run.values[:, :7], run.clean_values[:, :7], atol=1e-12)
    np.testing.assert_allclose(run.training, run.residual, atol=1e-12)
    assert float(run.outside.max()) < 1e-12 and float(run.noise_norm.max()) == 0
    np.testing.assert_allclose(run.map_values[:, 0], 1.0)


def test_noise_leaves_a_part_outside_that_never_changes():
    run = inexact.draw_runs(KEY, TRIALS, std=(0.5, 1.0))
    assert float(run.outside.min()) > 0.5
    np.testing.assert_allclose(run.training**2, run.residual**2 + run.outside**2, rtol=1e-12)


def test_noise_in_units_of_the_gap():
    run = inexact.draw_runs(KEY, TRIALS, gap_std=(0.1, 0.1))
    values = np.asarray(run.clean_values)
    gaps = (values[:, :5] - values[:, 1:6]).min(axis=1)
    np.testing.assert_allclose(run.std[:, 0], 0.1 * gaps, rtol=1e-9)


@pytest.mark.parametrize("shape", inexact.SHAPES)
def test_errors_have_about_the_stated_size(shape):
    run = inexact.draw_runs(KEY, TRIALS, sizes=(1e-3, 1e-3), shapes=(shape,), profiles=("all",))
    errors = np.asarray(run.errors)
    assert (errors > 1e-4).all() and (errors < 3e-3).all()
    if shape in ("dense", "pair", "extremal"):
        np.testing.assert_allclose(errors, 1e-3, rtol=1e-9)
    assert (run.errors_spectral <= run.errors * (1 + 1e-12)).all()


def test_the_extremal_error_moves_the_next_component_by_the_local_constant():
    """To first order ||s_2 u_2 v_2^T - R(Y_2)|| = (s_2/T_2) ||Psi_1||, which no error exceeds."""
    run = inexact.draw_runs(
        KEY, TRIALS, sizes=(1e-6, 1e-6), shapes=("extremal",), profiles=("first",)
    )
    values = np.asarray(run.values)
    ratio = values[:, 1] / (values[:, 1] - values[:, 2])
    np.testing.assert_allclose(run.shift[:, 1], ratio * run.errors[:, 0], rtol=1e-3)


@pytest.mark.parametrize(("profile", "loud"), [("first", 0), ("last", 4)])
def test_profiles_leave_the_other_steps_quiet(profile, loud):
    run = inexact.draw_runs(KEY, TRIALS, sizes=(0.1, 0.1), shapes=("dense",), profiles=(profile,))
    expected = np.full((TRIALS, 5), inexact.QUIET)
    expected[:, loud] = 0.1
    np.testing.assert_allclose(run.errors, expected, rtol=1e-6)


def test_half_of_the_tied_runs_have_ties():
    run = inexact.draw_runs(KEY, TRIALS, tied=True)
    values = np.asarray(run.clean_values)[:, :5]
    has_tie = (np.abs(np.diff(values, axis=1)) < 1e-12).any(axis=1)
    assert 0.3 < has_tie.mean() < 0.7
    assert all(np.isfinite(field).all() for field in run)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="shapes is"):
        inexact.draw_runs(KEY, TRIALS, shapes=("round",))
    with pytest.raises(ValueError, match="profiles is"):
        inexact.draw_runs(KEY, TRIALS, profiles=())
