"""A run that was saved and resumed is the uninterrupted one; a bad file is one clear line."""

import os
import pathlib
import zipfile

import jax
import numpy as np
import pytest

from deflation import (
    Regression,
    advance,
    alternating,
    explained_energy,
    finish,
    gradient_descent,
    krylov,
    load,
    noise_floor,
    parallel,
    save,
    saving,
    start,
)
from tests.deflation.problems import R, close, from_data, from_matrix, maps, one_line, precision

DTYPES = ("float32", "float64")


def mesh_of(count):
    return jax.sharding.Mesh(np.array(jax.devices()[:count]), ("worker",))


RUNS = {
    "parallel": {},
    "resting": {"advance": False, "key": jax.random.key(3)},
    "sequential": {"method": "sequential", "budget": [4, 4, 4]},
    "adaptive": {"method": "sequential", "budget": [6, 4, 4], "tolerance": 0.1},
    "descent": {"solver": gradient_descent(0.05, steps=2)},
    "krylov": {"solver": krylov(2)},
    "error": {"tolerance": 0.1, "tolerance_of": "error"},
    "joint": {"method": "joint", "solver": gradient_descent(0.05)},
    "sharded": {"method": "sharded", "mesh": mesh_of(4)},
    "growing": {"grow": explained_energy(0.8), "tolerance": 1e-3},
}


def same(got, wanted):
    """Bitwise, in every leaf of a state's progress and history, and in the solution."""
    for left, right in (
        (got.progress._replace(key=()), wanted.progress._replace(key=())),
        (got.history, wanted.history),
        (finish(got), finish(wanted)),
    ):
        for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
            assert np.asarray(one).dtype == np.asarray(other).dtype
            np.testing.assert_array_equal(one, other)
    assert np.array_equal(
        jax.random.key_data(got.progress.key), jax.random.key_data(wanted.progress.key)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RUNS)
def test_resumed_equals_uninterrupted(tmp_path, name, dtype):
    with precision(dtype):
        problem, path = from_data(), tmp_path / "run.npz"

        def fresh():
            return start(problem, R, **RUNS[name])

        # The same portions are the same programs, so that not even fusion differs.
        whole = advance(advance(fresh(), 5), 5)
        save(path, advance(fresh(), 5))
        same(advance(load(path, fresh()), 5), whole)
        np.testing.assert_array_equal(load(path, fresh()).progress.round, 5)


def test_portions_do_not_matter_either(tmp_path):
    path = tmp_path / "run.npz"
    state = start(from_data(), R)
    save(path, advance(state, 3))
    resumed = advance(load(path, state), 7)
    same(resumed, advance(state, 10))


@pytest.mark.parametrize("dtype", DTYPES)
def test_resumed_on_other_devices(tmp_path, dtype):
    """Four devices, then three, then one without a mesh."""
    with precision(dtype):
        problem, path = from_data(), tmp_path / "run.npz"

        def fresh(devices):
            if devices is None:
                return start(problem, R)
            return start(problem, R, method="sharded", mesh=mesh_of(devices))

        state = advance(fresh(4), 4)
        for devices in (3, None):
            save(path, state)
            state = advance(load(path, fresh(devices)), 4)
        wanted = parallel(problem, R, rounds=12)
        got = finish(state)
        close(maps(got.components), maps(wanted.components), dtype)
        close(got.history.size, wanted.history.size, dtype, 10)
        assert int(got.rounds) == 12


def test_names_of_any_kind(tmp_path):
    """With or without the usual ending, a string or a path; an old file is replaced."""
    state = start(from_matrix(), R)
    for path in (tmp_path / "run", str(tmp_path / "run.npz"), tmp_path / "a.b.c"):
        for rounds in (1, 2):
            save(path, advance(state, rounds))
            assert int(load(path, state).progress.round) == rounds
    assert sorted(os.listdir(tmp_path)) == ["a.b.c", "run", "run.npz"]


def test_other_random_generators(tmp_path):
    key = jax.random.key(1, impl="rbg")
    state = start(from_matrix(), R, key=key)
    save(tmp_path / "run.npz", state)
    assert load(tmp_path / "run.npz", state).progress.key == key


def test_a_key_of_another_generator_is_not_reread(tmp_path):
    """Both kinds have four words, which mean other numbers."""
    kinds = ("rbg", "unsafe_rbg")
    saved, other = (start(from_matrix(), R, key=jax.random.key(1, impl=kind)) for kind in kinds)
    save(tmp_path / "run.npz", saved)
    text = refused(tmp_path / "run.npz", other)
    assert "a run with key 'rbg'; allowed here is 'unsafe_rbg'" in text


def refused(path, state) -> str:
    with pytest.raises(ValueError) as error:
        load(path, state)
    text = one_line(error)
    assert str(path) in text
    return text


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


@pytest.mark.parametrize("stage", ["savez", "fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch, stage):
    """A full disk, at any stage: the old run is still there, and nothing else is."""
    path = tmp_path / "run.npz"
    state = advance(start(from_matrix(), R), 2)
    save(path, state)
    before = path.read_bytes()

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving.np if stage == "savez" else saving.os, stage, fail)
    with pytest.raises(ValueError) as error:
        save(path, advance(state, 1))
    monkeypatch.undo()
    text = one_line(error)
    assert "No space left" in text and str(path) in text
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    state = start(from_matrix(), R)
    save(path, state)
    before = path.read_bytes()

    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(saving.np, "savez", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(path, state)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize("where", ["no/run.npz", "folder", "file/run.npz"])
def test_paths_that_cannot_be_written(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError) as error:
        save(tmp_path / where, start(from_matrix(), R))
    assert "path" in one_line(error)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_saved_file_has_the_usual_permissions(tmp_path):
    """Not those of a private temporary file: others of the group may read results."""
    save(tmp_path / "run.npz", start(from_matrix(), R))
    (tmp_path / "other").write_text("")
    modes = [os.stat(tmp_path / name).st_mode for name in ("run.npz", "other")]
    assert modes[0] == modes[1]


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


@pytest.mark.parametrize("name", OLD_RUNS)
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


@pytest.mark.parametrize("name", OLD_RUNS)
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
