"""Recorded runs against the solvers' own answers and a plain loop over one instance."""

import dataclasses
import functools
import types

import jax
import numpy as np
import pytest

import deflation
from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.parallel import measured_run
from linear_theory.parallel.problems import RANK, draw
from linear_theory.parallel.self_correction.claims_contraction import DESCENT_ROUNDS, DESCENT_STEPS
from linear_theory.parallel.trajectory import ROUNDS, begin, reach, record

# The sizes of the claims' tests, whose compiled programs these tests share.
TRIALS = 32
LOOKED_AT = 7  # rounds of one instance that the plain loop goes through


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def instance(batch, index):
    return jax.tree.map(lambda leaf: leaf[index], batch)


@functools.cache
def cold(staleness=0):
    """Drawn and recorded once for the whole file."""
    batch = draw(jax.random.key(3), TRIALS)
    trajectory = record(batch, deflation.alternating(), staleness=staleness)
    return batch, jax.tree.map(np.asarray, trajectory)


def products(b, a):
    return b[..., None] * a[..., None, :]


def test_it_is_the_run_of_the_solver():
    batch, trajectory = cold()
    state = begin(instance(batch, 1), deflation.alternating(), ROUNDS)
    advanced = deflation.advance(state, ROUNDS).progress
    np.testing.assert_allclose(trajectory.factors.a[1, -1], advanced.factors.a, atol=1e-10)
    np.testing.assert_allclose(trajectory.factors.b[1, -1], advanced.factors.b, atol=1e-10)


def test_what_is_published_and_shown():
    batch, trajectory = cold()
    rounds, worker = np.arange(ROUNDS + 1)[:, None], np.arange(1, RANK + 1)
    np.testing.assert_array_equal(trajectory.published[0], worker <= rounds)
    size = np.asarray(batch.values)[0, :RANK]
    np.testing.assert_array_equal(trajectory.shown[0, 0], size)
    np.testing.assert_array_equal(trajectory.shown[:, RANK:], trajectory.error[:, RANK:])


@pytest.mark.parametrize("staleness", [0, 2])
def test_every_measurement_against_a_plain_loop(staleness):
    batch, trajectory = cold(staleness)
    u, s, v = (np.asarray(part)[2] for part in (batch.left, batch.values, batch.right))
    target = np.asarray(batch.regression.target)[2]
    exact = np.stack([s[k] * np.outer(u[:, k], v[:, k]) for k in range(RANK)])
    measured = trajectory._asdict() | reach(batch, trajectory, staleness)._asdict()
    held = products(*(rows[2] for rows in trajectory.factors))
    error = np.linalg.norm(held - exact, axis=(2, 3))
    np.testing.assert_allclose(trajectory.error[2], error, atol=1e-12)
    for step in range(1, LOOKED_AT + 1):
        known = max(step - 1 - staleness, 0)
        for k in range(RANK):
            seen = target - held[known, :k][trajectory.published[2, known, :k]].sum(axis=0)
            top_u, top_s, top_v = np.linalg.svd(seen)
            best = top_s[0] * np.outer(top_u[:, 0], top_v[0])
            own = trajectory.factors.a[2, step - 1, k]
            expected = {
                "mismatch": np.linalg.norm(seen - target + exact[:k].sum(axis=0)),
                "before": np.linalg.norm(held[step - 1, k] - best),
                "after": np.linalg.norm(held[step, k] - best),
                "ratio": top_s[1] / top_s[0],
                "cosine": abs(own @ top_v[0]) / np.linalg.norm(own),
            }
            for name, value in expected.items():
                got = measured[name][2, step - 1, k]
                assert got == pytest.approx(value, abs=1e-10), (name, step, k)


def test_modes_are_unit_with_a_positive_own_one():
    _, trajectory = cold()
    np.testing.assert_allclose(np.linalg.norm(trajectory.modes, axis=3), 1.0, atol=1e-12)
    assert (np.diagonal(trajectory.modes, axis1=2, axis2=3) >= 0).all()


def test_sequential_runs_one_worker_after_the_other():
    batch, _ = cold()
    error = np.asarray(record(batch, deflation.alternating(), method="sequential").error)
    moves = np.abs(np.diff(error, axis=1)) > 0
    slots = np.repeat(np.arange(RANK), ROUNDS // RANK)
    assert not moves[:, slots[:, None] != np.arange(RANK)].any()


def test_numbers_of_a_solver_belong_to_their_instance():
    batch = draw(jax.random.key(3), TRIALS, near=True, size=0.1)
    step = np.full((TRIALS, RANK, 1), 0.1)
    step[1] = 1e-12
    solver = GradientDescent(step, DESCENT_STEPS, coordinates="original")
    error = np.asarray(record(batch, solver, DESCENT_ROUNDS).error)
    moved = np.abs(error[:, -1] - error[:, 0]).max(axis=1)
    assert moved[1] < 1e-8 < 1e-5 < np.delete(moved, 1).min()


def test_aligned_is_within_45_degrees():
    cosine = np.cos(np.radians([0.0, 44.9, 45.1, 90.0]))
    current = types.SimpleNamespace(reach=types.SimpleNamespace(cosine=cosine))
    np.testing.assert_array_equal(measured_run.aligned(current), [True, True, False, False])


def test_contraction_from_a_condition():
    batch, _ = cold()
    current = measured_run.run(batch)
    condition = np.zeros((TRIALS, ROUNDS, RANK), bool)
    condition[:, 2:5, 0] = True  # not for good
    condition[:, 6:, :2] = True
    first, rate, holds = measured_run.contraction_from(current, condition)
    np.testing.assert_array_equal(first, np.tile([6, 6, ROUNDS, ROUNDS], (TRIALS, 1)))
    alive = np.where(current.reach.before > measured_run.FLOOR, current.contraction, 0)
    np.testing.assert_allclose(rate[:, :2], alive[:, 6:, :2].max(axis=1))
    np.testing.assert_array_equal(rate[:, 2:], 0.0)
    assert holds[:, 6:20, :2].all() and not holds[:, :6].any() and not holds[:, :, 2:].any()


def test_follows_wants_a_published_worker_with_predecessors():
    batch, _ = cold()
    current = measured_run.run(batch)
    seen = measured_run.follows(current)
    assert not seen[:, :, 0].any() and not seen[:, 0].any()
    assert seen[:, 1, 1].all() and not seen[:, 1, 2].any() and seen[:, 3, 3].all()


def test_last_factor_of_a_geometric_decay():
    batch, _ = cold()
    current = measured_run.run(batch)
    rates = np.zeros((TRIALS, RANK, current.values.shape[1]))
    rates[:, :, -1] = 0.5
    modes = np.zeros_like(current.trajectory.modes)
    modes[..., -1] = 1e-3
    decay = np.tile(0.5 ** np.arange(ROUNDS + 1)[:, None], (TRIALS, 1, RANK))
    made_up = current.trajectory._replace(error=decay, modes=modes)
    factor, is_rate = measured_run.last_factor(
        dataclasses.replace(current, trajectory=made_up), rates
    )
    np.testing.assert_allclose(factor, 0.5)
    assert is_rate.all()
    rates[:, :, 4] = 0.6  # the slowest mode is now one that is not there
    assert not measured_run.last_factor(dataclasses.replace(current, trajectory=made_up), rates)[
        1
    ].any()
