"""Data on a cluster give the problem of the data in memory, also when a worker is lost."""

import os
import signal
import threading
import time

import jax
import numpy as np
import pytest

from deflation import Regression

da = pytest.importorskip("dask.array")
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


def slowly(block, folder):
    (folder / str(time.time_ns())).touch()
    time.sleep(0.1)
    return block


@pytest.mark.filterwarnings("ignore")  # of a cluster that has lost a worker
def test_a_worker_that_is_killed_is_made_up_for(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        victim = next(iter(client.run(os.getpid).values()))
        chunks = tmp_path / "chunks"
        chunks.mkdir()

        def kill():
            while len(list(chunks.iterdir())) < 5:
                time.sleep(0.02)
            os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        x = da.from_array(X, chunks=(10, 6)).map_blocks(slowly, chunks, dtype=float)
        problem = Regression.from_dask(x, da.from_array(Y, chunks=(10, 4)))
        killer.join(timeout=60)
        assert not killer.is_alive() and victim not in client.run(os.getpid).values()
    same(problem, Regression.from_data(X.T, Y.T))
