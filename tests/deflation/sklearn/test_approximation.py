"""Low-rank approximation in the place of TruncatedSVD and PCA."""

import itertools

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn")
from sklearn.decomposition import PCA, TruncatedSVD

from deflation.sklearn import LowRankApproximation
from tests.deflation.problems import thorough

G = np.random.default_rng(0)
X = G.normal(size=(30, 4)) * [4, 2, 1, 0.5] + [1, 0, 3, 0]
SHARED = (
    "components_",
    "singular_values_",
    "explained_variance_",
    "explained_variance_ratio_",
)


KINDS = {"dense": np.asarray, "sparse": scipy.sparse.csr_array}
CASES = [(False, "dense", "krylov"), (True, "sparse", "exact")]
CASES += [(False, "dense", "exact"), (True, "dense", "exact")]
ALL = itertools.product((False, True), KINDS, ("exact", "krylov"))


@pytest.mark.parametrize(
    ("centre", "kind", "solver"), CASES + [thorough(*case) for case in ALL if case not in CASES]
)
def test_the_numbers_of_the_peers(centre, kind, solver):
    if centre:
        peer = PCA(2, svd_solver="full")
    else:
        peer = TruncatedSVD(2, algorithm="arpack")
    wanted = peer.fit_transform(X)
    model = LowRankApproximation(2, centre=centre, solver=solver).fit(KINDS[kind](X))
    for name in SHARED:
        np.testing.assert_allclose(getattr(model, name), getattr(peer, name), atol=1e-6)
    scores = model.transform(KINDS[kind](X))
    np.testing.assert_allclose(scores, wanted, atol=1e-5)
    np.testing.assert_allclose(
        model.inverse_transform(scores), peer.inverse_transform(wanted), atol=1e-5
    )


@pytest.mark.parametrize("centre", [False, True])
def test_parts_give_the_fit_of_the_whole(centre):
    wanted = LowRankApproximation(3, centre=centre).fit(X)
    model = LowRankApproximation(3, centre=centre)
    for rows in np.split(np.arange(30), [5, 6, 20], 0):
        if len(rows) >= 3 or hasattr(model, "n_samples_seen_"):
            model.partial_fit(X[rows])
    for name in SHARED:
        np.testing.assert_allclose(getattr(model, name), getattr(wanted, name), atol=1e-10)


def test_no_square_is_formed():
    """Sizes below the root of rounding are still right."""
    x = G.normal(size=(20, 3)) @ np.diag([1, 1e-6, 1e-10])
    sizes = LowRankApproximation(3).fit(x).singular_values_
    np.testing.assert_allclose(sizes, np.linalg.svd(x)[1], rtol=1e-4)


@pytest.mark.parametrize("count", [0, 5])
def test_a_number_of_components_out_of_range(count):
    with pytest.raises(ValueError, match=f"n_components is {count}; allowed are integers from 1"):
        LowRankApproximation(count).fit(X)
