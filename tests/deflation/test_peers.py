"""What users of scipy's svds and scikit-learn's randomized_svd rely on, by our public functions."""

import numpy as np
import pytest
import scipy.sparse

from deflation import Regression, alternating, exact, krylov, parallel
from tests.deflation.problems import thorough

SOLVERS = {
    "alternating": lambda p, k: parallel(p, k, rounds=60, init="sketch"),
    "consistent": lambda p, k: parallel(p, k, alternating(consistent=True), rounds=60),
    "krylov": lambda p, k: parallel(p, k, krylov(3), rounds=40),
    "exact": exact,
}


def svds(a, k, solver="alternating"):
    """u (m, k), s (k,), vt (k, d), largest first, as scipy's function of that name."""
    b, a = SOLVERS[solver](Regression.from_matrix(a), k).components
    s = np.linalg.norm(b, axis=1)
    return np.asarray(b).T / np.where(s > 0, s, 1), s, np.asarray(a)


def check(a, k, solver, tolerance=1e-5):
    """Values, orthogonality of the vectors that have a value, and the best approximation."""
    dense = a.toarray() if scipy.sparse.issparse(a) else a
    wanted = np.linalg.svd(dense, compute_uv=False)[:k]
    u, s, vt = svds(a, k, solver)
    assert np.isfinite(u).all() and np.isfinite(vt).all()
    np.testing.assert_allclose(s, wanted, atol=tolerance * wanted[0])
    live = wanted > 1e-5 * wanted[0]
    for vectors in (u.T[live], vt[live]):
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(live.sum()), atol=30 * tolerance)
    rest = np.linalg.norm(dense - (u * s) @ vt)
    best = np.sqrt(max(np.sum(dense.astype(float) ** 2) - np.sum(wanted**2), 0))
    assert rest <= best + 10 * tolerance * wanted[0]


# Every solver compiles for every shape and k: three for one, and for the others some. Consistent
# rounds have the fixed point of alternating ones.
LEAST = [thorough(name) if name == "consistent" else name for name in SOLVERS]
ONES = [((5, 3), 2, solver) for solver in SOLVERS if solver != "consistent"]
ONES += [thorough((5, 3), 2, "consistent")]
SOME = [
    ((1, 1), 1, "exact"),
    ((3, 5), 1, "exact"),
]
ALL = [(*case, solver) for case in (((1, 1), 1), ((3, 5), 1), ((3, 5), 3)) for solver in SOLVERS]
ONES += SOME + [thorough(*case) for case in ALL if case not in SOME]


@pytest.mark.parametrize(("shape", "k", "solver"), ONES)
def test_a_matrix_of_ones(shape, k, solver):
    check(np.ones(shape, np.float32), k, solver)


RANKS = [(1, 2, solver) for solver in SOLVERS if solver != "consistent"]
RANKS += [thorough(1, 2, "consistent")]
RANKS += [thorough(rank, 3, solver) for rank in (2, 1) for solver in SOLVERS]


@pytest.mark.parametrize(("rank", "k", "solver"), RANKS)
def test_more_components_than_the_rank(rank, k, solver):
    g = np.random.default_rng(0)
    a = g.normal(size=(5, rank)) @ g.normal(size=(rank, 3))
    check(a.astype(np.float32), k, solver)


@pytest.mark.parametrize("solver", LEAST)
def test_ties(solver):
    check(np.eye(5, 3, dtype=np.float32) * np.float32([3, 3, 1]), 2, solver)


# Sparse matrices tests/deflation/problem/test_operators.py holds, noise the bounds of every run.
@pytest.mark.thorough
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_low_rank_and_noise(transposed, sparse):
    g = np.random.default_rng(1)
    a = g.normal(size=(40, 4)) @ g.normal(size=(4, 30)) + 0.01 * g.normal(size=(40, 30))
    a = (a.T if transposed else a).astype(np.float32)
    check(scipy.sparse.csr_array(a) if sparse else a, 4, "alternating")


def test_signs_do_not_depend_on_the_orientation():
    """The largest entry of a left vector is positive."""
    u, _, _ = svds(np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32), 2, "exact")
    assert (u[np.argmax(np.abs(u), axis=0), [0, 1]] > 0).all()


# tests/deflation/sklearn/test_approximation.py compares both with TruncatedSVD.
@pytest.mark.thorough
def test_explained_energy_and_reconstruction():
    """What TruncatedSVD calls explained variance and inverse_transform, without centring."""
    a = np.random.default_rng(3).normal(size=(30, 40)).astype(np.float32)
    u, s, vt = svds(a, 5, "exact")
    scores = a @ vt.T
    np.testing.assert_allclose(scores, u * s, atol=1e-4)
    np.testing.assert_allclose(np.sum((scores @ vt) ** 2), np.sum(s.astype(float) ** 2), rtol=1e-5)
