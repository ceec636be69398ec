"""Files that are no run, or that of another problem: refused in a line."""

import zipfile

import numpy as np
import pytest

from deflation import (
    Regression,
    advance,
    alternating,
    explained_energy,
    gradient_descent,
    load,
    save,
    start,
)
from tests.deflation.problems import R, from_data, from_matrix, precision
from tests.deflation.test_saving import refused, same


def test_truncated_files(tmp_path):
    """Cut after any number of bytes."""
    state = start(from_matrix(), R)
    path, cut = tmp_path / "run.npz", tmp_path / "cut.npz"
    save(path, advance(state, 2))
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        cut.write_bytes(content[:length])
        assert "truncated or not a saved run" in refused(cut, state)


def test_damaged_files(tmp_path):
    """One byte changed: either refused with the one line, or harmless (padding, time stamps)."""
    state = start(from_matrix(), R)
    path, bad = tmp_path / "run.npz", tmp_path / "bad.npz"
    save(path, advance(state, 2))
    content = path.read_bytes()
    refusals = 0
    for position in range(0, len(content), 31):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        bad.write_bytes(damaged)
        try:
            loaded = load(bad, state)
        except ValueError as error:
            assert "\n" not in str(error) and str(bad) in str(error)
            refusals += 1
        else:
            same(loaded, load(path, state))
    assert refusals > 10


def write_text(path):
    path.write_text("hello\n")


def write_npy(path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello", "world")


def write_npz(**arrays):
    def write(path):
        with path.open("wb") as file:
            np.savez(file, **arrays)

    return write


FOREIGN = {
    "empty": lambda path: path.write_bytes(b""),
    "text": write_text,
    "one array": write_npy,
    "zip": write_zip,
    "arrays": write_npz(b=np.ones(3)),
    "a list": write_npz(description=np.asarray("[1, 2]")),
    "a number": write_npz(description=np.asarray("1")),
    "another record": write_npz(description=np.asarray('{"format": 99}')),
    "not json": write_npz(description=np.asarray("{")),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(tmp_path, kind):
    path = tmp_path / "run.npz"
    FOREIGN[kind](path)
    refused(path, start(from_matrix(), R))


def test_a_file_with_parts_missing(tmp_path):
    """The right description, but not all of the arrays, or of other shapes."""
    state = start(from_matrix(), R)
    path, bad = tmp_path / "run.npz", tmp_path / "bad.npz"
    save(path, advance(state, 2))
    with np.load(path) as file:
        arrays = dict(file)
    for name in arrays:
        write_npz(**{k: v for k, v in arrays.items() if k != name})(bad)
        refused(bad, state)
    write_npz(**arrays | {"b": arrays["b"][:-1]})(bad)
    refused(bad, state)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_history_of_another_length(tmp_path, rows):
    """One row for each of the two rounds: a part of them would be reported as the whole run."""
    state = start(from_matrix(), R)
    path, bad = tmp_path / "run.npz", tmp_path / "bad.npz"
    save(path, advance(state, 2))
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("change", "size"):
        write_npz(**arrays | {name: np.resize(arrays[name], (rows, R))})(bad)
        assert "not a saved run" in refused(bad, state)


def test_no_file(tmp_path):
    assert "no such file" in refused(tmp_path / "none.npz", start(from_matrix(), R))


# What is saved: a parallel run of three components with these options.
SAVED = {"tolerance": 1e-3}
OTHER = {
    "rank": lambda: start(from_matrix(), 2, **SAVED),
    "shape": lambda: start(Regression.from_matrix(np.ones((R, R)) + np.eye(R)), R, **SAVED),
    "problem": lambda: start(from_matrix(seed=1), R, **SAVED),
    "way": lambda: start(from_matrix(), R, method="sequential", **SAVED),
    "solver": lambda: start(from_matrix(), R, gradient_descent(), **SAVED),
    "sweeps": lambda: start(from_matrix(), R, alternating(2), **SAVED),
    "tolerance": lambda: start(from_matrix(), R, tolerance=1e-4),
    "no tolerance": lambda: start(from_matrix(), R),
    "staggered": lambda: start(from_matrix(), R, staggered=False, **SAVED),
    "advance": lambda: start(from_matrix(), R, advance=False, **SAVED),
    "orthogonal": lambda: start(from_matrix(), R, orthogonal=True, **SAVED),
    "rule": lambda: start(from_matrix(), R, grow=explained_energy(0.8), **SAVED),
}


@pytest.mark.parametrize("what", OTHER)
def test_runs_of_another_problem_or_other_options(tmp_path, what):
    path = tmp_path / "run.npz"
    save(path, advance(start(from_matrix(), R, **SAVED), 2))
    text = refused(path, OTHER[what]())
    assert "allowed" in text
    if what in ("rank", "shape", "problem", "way", "solver", "staggered", "advance", "orthogonal"):
        assert what in text


def test_runs_of_another_data_set(tmp_path):
    """The same whitened target, other inputs: the components would be in other coordinates."""
    path = tmp_path / "run.npz"
    problem = from_data()
    save(path, advance(start(problem, R), 2))
    doubled = problem._replace(whitener=problem.whitener / 2, root=problem.root * 2)
    refused(path, start(doubled, R))


def test_runs_in_another_precision(tmp_path):
    path = tmp_path / "run.npz"
    with precision("float64"):
        save(path, advance(start(from_matrix(), R), 2))
    assert "float64" in refused(path, start(from_matrix(), R))


def test_step_sizes_and_budgets_are_options(tmp_path):
    path = tmp_path / "run.npz"
    save(path, start(from_matrix(), R, gradient_descent(0.05)))
    refused(path, start(from_matrix(), R, gradient_descent(0.06)))
    options = {"method": "sequential"}
    save(path, start(from_matrix(), R, budget=[3, 3, 3], **options))
    refused(path, start(from_matrix(), R, budget=[3, 3, 4], **options))
