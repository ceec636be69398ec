"""Frames, sparse matrices and samples in rows give the problem of the arrays."""

import jax
import numpy as np
import pytest
import scipy.sparse
from jax.experimental import sparse

from deflation import Regression
from tests.deflation.problem.test_regression import same
from tests.deflation.problems import data

X, Y = data()
SPARSE = X * (np.random.default_rng(0).random(X.shape) < 0.4)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    module = pytest.importorskip(library)
    x, y = (
        module.DataFrame({f"{name}{k}": row for k, row in enumerate(rows)})
        for name, rows in (("x", X), ("y", Y))
    )
    wanted = Regression.from_data(X, Y)
    same(Regression.from_data(x, y, rows="samples"), wanted)
    blocks = [(x[i : i + 7], y[i : i + 7]) for i in range(0, 40, 7)]
    same(Regression.from_batches(blocks, rows="samples"), wanted, factor=1e3)


def test_nobody_guesses_what_the_rows_of_a_frame_are():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="x is a frame and rows is None; allowed are"):
        Regression.from_data(pandas.DataFrame(X[:4, :4]), Y[:4, :4])
    same(
        Regression.from_data(pandas.DataFrame(X), pandas.DataFrame(Y), rows="features"),
        Regression.from_data(X, Y),
    )


def test_frames_with_gaps_or_text_name_the_column():
    pandas = pytest.importorskip("pandas")
    for column, message in (
        (["a", "b"], "column 'u' of x holds"),
        ([1.0, np.nan], "column 'u' of x is nan in row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            Regression.from_data(pandas.DataFrame({"u": column}), np.ones(2), rows="samples")


def test_samples_in_rows():
    wanted = Regression.from_data(X, Y)
    same(Regression.from_data(X.T, Y.T, rows="samples"), wanted)
    same(Regression.from_data(X.T.tolist(), Y.T.tolist(), rows="samples"), wanted)
    same(Regression.from_data(X.T, Y[0], rows="samples"), Regression.from_data(X, Y[:1]))
    made = jax.jit(lambda x, y: Regression.from_data(x, y, rows="samples"))(X.T, Y.T)
    same(made, wanted)
    with pytest.raises(ValueError, match="allowed with rows='samples' is the same number of rows"):
        Regression.from_data(X, Y.T, rows="samples")
    with pytest.raises(ValueError, match="rows is 'n'"):
        Regression.from_data(X, Y, rows="n")
    with pytest.raises(ValueError, match="batch 1: x has shape"):
        Regression.from_batches([(X.T, Y.T), (X.T, Y)], rows="samples")


@pytest.mark.parametrize(
    "make", [scipy.sparse.csr_array, scipy.sparse.csc_matrix, sparse.BCOO.fromdense]
)
@pytest.mark.parametrize("rows", ["features", "samples"])
def test_sparse_inputs_go_through_moments(make, rows):
    turn = (lambda v: v) if rows == "features" else np.transpose
    got = Regression.from_data(make(turn(SPARSE)), turn(Y), rows=rows)
    wanted = Regression.from_data(SPARSE, Y)
    for name in ("target", "root", "whitener", "unexplained", "freedom"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), atol=1e-8)
    both = Regression.from_data(make(turn(SPARSE)), make(turn(Y)), rows=rows)
    np.testing.assert_allclose(both.target, wanted.target, atol=1e-8)


def test_sparse_data_that_are_refused():
    with pytest.raises(ValueError, match="x contains NaN"):
        Regression.from_data(scipy.sparse.csr_array(X * np.nan), Y)
    with pytest.raises(ValueError, match="y is all zeros"):
        Regression.from_data(scipy.sparse.csr_array(X), Y * 0)
    with pytest.raises(ValueError, match="the same number of columns"):
        Regression.from_data(scipy.sparse.csr_array(X), Y[:, 1:])


@pytest.mark.parametrize("rows", ["samples", "features"])
def test_frames_in_another_order_are_refused(rows):
    pandas = pytest.importorskip("pandas")
    x, y = pandas.DataFrame(X[:, :6].T), pandas.DataFrame(Y[:, :6].T)
    turned = y[::-1]
    axis = "index" if rows == "samples" else "columns"
    if rows == "features":
        x, y, turned = x.T, y.T, turned.T
    with pytest.raises(ValueError, match=rf"as that of y\.reindex\({axis}=x\.{axis}\)"):
        Regression.from_data(x, turned, rows=rows)
    again = turned.reindex(**{axis: getattr(x, axis)})
    one, other = (Regression.from_data(x, z, rows=rows) for z in (y, again))
    np.testing.assert_array_equal(one.target, other.target)
    Regression.from_data(x, turned.set_axis(range(10, 16), axis=axis), rows=rows)  # other labels
