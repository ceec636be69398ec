"""Runs that earlier versions have written go on."""

import pathlib

import jax
import numpy as np
import pytest

from deflation import (
    Regression,
    advance,
    explained_energy,
    finish,
    load,
    noise_floor,
    save,
    start,
)
from tests.deflation.problems import R, close, maps
from tests.deflation.test_saving import refused, same

# Written by the version before format 4 after five rounds, with the components after 25 rounds.
BEFORE = pathlib.Path(__file__).parent / "data" / "format3"
OLD_RUNS = {
    "matrix": {},
    "data": {"tolerance": 1e-3},
    "sketch": {"init": "sketch"},
    "sequential": {"method": "sequential", "budget": [4, 4, 4]},
    "growing": {"grow": explained_energy(0.8), "tolerance": 1e-3},
    "noise": {"grow": noise_floor(), "tolerance": 1e-3},
}


# The others differ by what a solver or a rule begins with, not by what a file holds.
NAMES = [
    pytest.param(name, marks=pytest.mark.thorough) if name in ("sketch", "noise") else name
    for name in OLD_RUNS
]


def old_problem(name):
    """Of the stored target: the last bits of a factorisation are those of a machine."""
    with np.load(BEFORE / "problem.npz") as file:
        old = dict(file)
    if name in ("matrix", "sequential"):
        return Regression.from_matrix(old["matrix"]), old
    problem = Regression.from_data(old["x"], old["y"])
    np.testing.assert_allclose(problem.energy, old["energy"], rtol=1e-5)
    np.testing.assert_allclose(problem.target, old["target"], rtol=1e-3, atol=1e-4)
    leaves = {key: jax.numpy.asarray(old[key]) for key in ("target", "whitener", "root", "freedom")}
    return problem._replace(**leaves), old


@pytest.mark.parametrize("name", NAMES)
def test_files_of_format_3(tmp_path, name):
    problem, old = old_problem(name)
    fresh = start(problem, R, **OLD_RUNS[name])
    state = load(BEFORE / f"{name}.npz", fresh)
    assert int(state.progress.round) == 5 and state.history.size.shape == (5, R)
    end = finish(advance(state, 20)).components
    # Rounds in units of M's size round otherwise than those of before.
    close(maps(end), np.einsum("km,kd->kmd", old[f"{name}_b"], old[f"{name}_a"]), "float32", 10)
    save(tmp_path / "run.npz", state)
    same(load(tmp_path / "run.npz", fresh), state)


# Written before the options of a run became records.
FORMAT4 = pathlib.Path(__file__).parent / "data" / "format4"


@pytest.mark.parametrize("name", NAMES)
def test_files_of_format_4(name):
    problem, _ = old_problem(name)
    state = load(FORMAT4 / f"{name}.npz", start(problem, R, **OLD_RUNS[name]))
    assert int(state.progress.round) == 5 and state.history.size.shape == (5, R)
    end = finish(advance(state, 20), certify=False).components
    with np.load(FORMAT4 / "ends.npz") as ends:
        wanted = np.einsum("km,kd->kmd", ends[f"{name}_b"], ends[f"{name}_a"])
    close(maps(end), wanted, "float32")


def test_files_of_format_3_of_other_runs():
    problem, _ = old_problem("data")
    options = OLD_RUNS["growing"]
    moved = problem._replace(unexplained=problem.unexplained * 1.01)
    turned = problem._replace(whitener=problem.whitener * 2)
    for other in (moved, turned):
        assert "problem" in refused(BEFORE / "growing.npz", start(other, R, **options))
    options = options | {"grow": explained_energy(0.9)}
    assert "numbers" in refused(BEFORE / "growing.npz", start(problem, R, **options))
