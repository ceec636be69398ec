"""Data on a cluster give the problem of the data in memory, also when a worker is lost."""

import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

from deflation import Regression

da = pytest.importorskip("dask.array")
ROOT = pathlib.Path(__file__).parents[3]
G = np.random.default_rng(0)
X = G.normal(size=(200, 6)) + 3
Y = X @ G.normal(size=(6, 4)) + G.normal(size=(200, 4))


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def same(got, wanted):
    for name in ("target", "root", "whitener", "unexplained", "freedom"):
        np.testing.assert_allclose(
            getattr(got, name), getattr(wanted, name), rtol=1e-10, atol=1e-10
        )


def test_chunks_of_any_shape():
    wanted = Regression.from_data(X.T, Y.T)
    x, y = da.from_array(X, chunks=(33, 4)), da.from_array(Y, chunks=(50, 3))
    same(Regression.from_dask(x, y), wanted)
    same(Regression.from_dask(x.T, y.T, rows="features"), wanted)
    unknown = x[x[:, 0] > 3]  # chunks of sizes that are not known yet
    some = X[:, 0] > 3
    same(
        Regression.from_dask(unknown, y[some][:, 0]), Regression.from_data(X[some].T, Y[some, :1].T)
    )


def test_what_is_not_of_dask_is_refused():
    x, y = da.from_array(X), da.from_array(Y)
    for given, message in (
        ((X, y), "x is array"),
        ((x, y[1:]), "allowed are two matrices"),
        ((x * np.nan, y), "a chunk of x contains NaN"),
        ((x, y * 0), "y is all zeros"),
        ((x[:0], y[:0]), "at least one sample"),
    ):
        with pytest.raises(ValueError, match=message):
            Regression.from_dask(*given)


LOSING = """
import os, pathlib, signal, sys, threading, time

import dask.array as da
import distributed
import jax
import numpy as np

from deflation import Regression

FOLDER = pathlib.Path(sys.argv[1])


def slowly(block):
    (FOLDER / f"chunk{time.time_ns()}").touch()
    time.sleep(0.1)
    return block


def main():
    jax.config.update("jax_enable_x64", True)
    x, y = (np.load(FOLDER / f"{name}.npy") for name in "xy")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=FOLDER
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))

        def kill():
            while len(list(FOLDER.glob("chunk*"))) < 5:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        chunks = da.from_array(x, chunks=(10, 6)).map_blocks(slowly, dtype=float)
        problem = Regression.from_dask(chunks, da.from_array(y, chunks=(10, 4)))
        killer.join(timeout=60)
        assert not killer.is_alive() and victim not in client.run(os.getpid).values()
    wanted = Regression.from_data(x.T, y.T)
    for name in ("target", "root", "whitener", "unexplained", "freedom"):
        got = getattr(problem, name)
        np.testing.assert_allclose(got, getattr(wanted, name), rtol=1e-10, atol=1e-10)
    print("the same problem")


if __name__ == "__main__":
    main()
"""


def test_a_worker_that_is_killed_is_made_up_for(tmp_path):
    """In a process of its own, with an end: clusters do not like one that has run much before, in
    which their workers vanish and they wait for ever."""
    pytest.importorskip("distributed")
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    script = tmp_path / "losing.py"
    script.write_text(LOSING)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.stdout.strip().endswith("the same problem"), done.stderr[-2000:]
