"""A run that was saved and resumed is the uninterrupted one; a bad file is one clear line."""

import os

import jax
import numpy as np
import pytest

from deflation import (
    advance,
    explained_energy,
    finish,
    gradient_descent,
    krylov,
    load,
    parallel,
    save,
    saving,
    start,
)
from tests.deflation.problems import (
    R,
    by_turns,
    close,
    from_data,
    from_matrix,
    maps,
    one_line,
    precision,
    thorough,
)

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


# A solver and an option of this kind have no state of their own; a budget that adapts has that of
# one which does not, and more. test_resumed_on_other_devices holds sharded runs, and
# tests/deflation/test_old_runs.py those that grow.
STATELESS = ("resting", "descent", "krylov", "sequential", "joint", "sharded", "growing")
CASES = by_turns([name for name in RUNS if name not in STATELESS], DTYPES)
CASES += [thorough(name, dtype) for name in STATELESS for dtype in DTYPES]


@pytest.mark.parametrize(("name", "dtype"), CASES)
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


@pytest.mark.parametrize(
    ("dtype", "later"),
    [("float64", (None,)), *(thorough(dtype, (3, None)) for dtype in DTYPES)],
)
def test_resumed_on_other_devices(tmp_path, dtype, later):
    """Four devices, then one without a mesh, or three in between."""
    with precision(dtype):
        problem, path = from_data(), tmp_path / "run.npz"

        def fresh(devices):
            if devices is None:
                return start(problem, R)
            return start(problem, R, method="sharded", mesh=mesh_of(devices))

        state = advance(fresh(4), 4)
        for devices in later:
            save(path, state)
            state = advance(load(path, fresh(devices)), 4)
        rounds = 4 * (1 + len(later))
        wanted = parallel(problem, R, rounds=rounds)
        got = finish(state)
        close(maps(got.components), maps(wanted.components), dtype)
        close(got.history.size, wanted.history.size, dtype, 10)
        assert int(got.rounds) == rounds


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
