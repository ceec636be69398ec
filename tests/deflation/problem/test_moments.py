"""Problems by second moments: those of the data, singular or not, and compression of a map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import Regression, exact, explained_energy, krylov, noise_floor, parallel, sharded
from deflation.problem.moments import Moments, all_joined
from tests.deflation.problem.test_regression import DESIGNS
from tests.deflation.problems import D, M, collinear, data, thorough


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def moments(x, y):
    return x @ x.T, y @ x.T, np.sum(y**2), x.shape[1]


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_moments_give_the_problem_of_the_data(design):
    x, y = design()
    got, wanted = Regression.from_moments(*moments(x, y)), Regression.from_data(x, y)
    total = np.sqrt(np.sum(y**2))
    for name in ("target", "root", "whitener"):
        # A Gram holds half the digits: roots of rounding errors of S.
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), atol=1e-7 * total)
    assert float(got.unexplained) == pytest.approx(float(wanted.unexplained), abs=1e-6 * total)
    assert int(got.freedom) == int(wanted.freedom)
    found, best = exact(got, 2).components.matrix(), exact(wanted, 2).components.matrix()
    np.testing.assert_allclose(found, best, atol=1e-7 * total)


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_float32_at_any_scale(scale):
    x, y = data()
    gram, cross, energy, count = moments(x, y)
    with jax.enable_x64(False):
        small = Regression.from_moments(
            (gram * scale**2).astype(np.float32),
            (cross * scale**2).astype(np.float32),
            energy * scale**2,
            count,
        )
        error = small.residual(exact(small, 2).components) / scale
    wanted = Regression.from_data(x, y)
    assert float(error) == pytest.approx(float(wanted.residual(exact(wanted, 2).components)), 1e-4)


@pytest.mark.parametrize("way", [parallel, thorough(sharded)])
def test_solvers_work_on_moments(way):
    x, y = collinear()
    problem = Regression.from_moments(*moments(x, y))
    best = problem.residual(exact(problem, 2).components)
    found = way(problem, 2, krylov(), rounds=30, key=jax.random.key(0)).components
    assert float(problem.residual(found)) == pytest.approx(float(best), 1e-6)
    assert found.prefix(1).b.shape == (1, M)


# A rule asks only for the numbers of a problem that are compared above.
@pytest.mark.thorough
@pytest.mark.parametrize("rule", [noise_floor(), explained_energy(0.5)])
def test_rules_work_on_moments(rule):
    problem = Regression.from_moments(*moments(*collinear()))
    solution = parallel(problem, 2, rounds=5, grow=rule, key=jax.random.key(0))
    assert 1 <= int(solution.rank) <= 2


def test_without_energy_nothing_is_unexplained():
    x, y = data()
    problem = Regression.from_moments(x @ x.T, y @ x.T)
    assert float(problem.energy) == 0 and float(problem.freedom) == 0
    with pytest.raises(ValueError, match="std of noise_floor"):
        parallel(problem, 1, grow=noise_floor(), key=jax.random.key(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gram": np.ones((D, D + 1))}, "gram has shape"),
        ({"gram": np.triu(np.ones((D, D)))}, "gram differs from its transpose"),
        ({"gram": np.diag([1.0] * (D - 1) + [-1])}, "gram has the eigenvalue -1"),
        ({"gram": np.zeros((D, D))}, "gram is all zeros"),
        ({"gram": np.full((D, D), np.nan)}, "gram contains NaN"),
        ({"cross": np.ones((M, D + 1))}, "cross has shape"),
        ({"cross": np.zeros((M, D))}, "cross is all zeros"),
        ({"energy": 1e-9}, "energy is 1e-09 and the inputs explain"),
        ({"energy": -1.0}, "energy is -1.0"),
        ({"count": 0}, "count is 0"),
    ],
)
def test_bad_moments_are_one_line(change, message):
    given = dict(zip(("gram", "cross", "energy", "count"), moments(*data()), strict=True))
    with pytest.raises(ValueError, match=message) as error:
        Regression.from_moments(**{**given, **change})
    assert "\n" not in str(error.value)


def test_traced_moments_are_refused():
    with pytest.raises(ValueError, match="gram is traced"):
        jax.jit(lambda g: Regression.from_moments(g, g).target)(jnp.eye(2))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_moments_of_parts_are_those_of_the_whole(d, m, sizes):
    g = np.random.default_rng(0)
    x, y = g.normal(size=(d, sum(sizes))) + 100, g.normal(size=(m, sum(sizes))) - 50
    borders = np.cumsum(sizes)[:-1]
    parts = zip(np.split(x, borders, 1), np.split(y, borders, 1), strict=True)
    got, wanted = all_joined([Moments.of(*part) for part in parts]), Moments.of(x, y)
    for left, right in zip(got, wanted, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)
    for left, right in zip(got.about(), moments(x, y)[:2], strict=False):
        np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("dense_y", [True, False])
def test_sparse_samples(dense_y):
    g = np.random.default_rng(1)
    x, y = (np.where(g.random((n, 30)) < 0.3, 1 + g.random((n, 30)), 0) for n in (D, M))
    sparse = scipy.sparse.csr_array
    got = Moments.of(sparse(x), y if dense_y else sparse(y))
    for left, right in zip(got, Moments.of(x, y), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-12)


class TestFromWeight:
    weight = np.random.default_rng(2).normal(size=(M, D))
    x = np.random.default_rng(3).normal(size=(D, 3))  # fewer samples than inputs: S is singular

    def test_the_error_is_the_tail_of_the_spectrum(self):
        gram = self.x @ self.x.T
        tail = np.sort(np.linalg.eigvalsh(self.weight @ gram @ self.weight.T))[::-1]
        problem = Regression.from_weight(self.weight, gram)
        for rank in (1, 2):
            found = exact(problem, rank).components.matrix()
            loss = np.sum(((self.weight - found) @ self.x) ** 2)
            assert loss == pytest.approx(tail[rank:].sum(), rel=1e-9)
            assert float(problem.residual(exact(problem, rank).components)) == pytest.approx(
                np.sqrt(loss), rel=1e-7
            )

    def test_it_projects_the_map_also_where_no_sample_was(self):
        found = exact(Regression.from_weight(self.weight, self.x @ self.x.T), 2).components
        u = np.linalg.qr(np.asarray(found.b).T)[0]
        np.testing.assert_allclose(found.matrix(), u @ u.T @ self.weight, atol=1e-9)

    def test_other_solvers_and_no_gram(self):
        problem = Regression.from_weight(self.weight, self.x @ self.x.T, ridge=0.01)
        best = problem.residual(exact(problem, 2).components)
        found = parallel(problem, 2, krylov(), rounds=30, key=jax.random.key(0)).components
        assert float(problem.residual(found)) == pytest.approx(float(best), rel=1e-6)
        plain = exact(Regression.from_weight(self.weight), 2).components.matrix()
        same = exact(Regression.from_weight(self.weight, np.eye(D)), 2).components.matrix()
        np.testing.assert_allclose(plain, same, atol=1e-12)

    def test_ridge_is_in_units_of_the_mean_eigenvalue(self):
        gram = self.x @ self.x.T
        problem = Regression.from_weight(self.weight, gram, ridge=0.5)
        np.testing.assert_allclose(
            problem.gram, gram + 0.5 * np.trace(gram) / D * np.eye(D), atol=1e-12
        )
        assert int(problem.design_rank()) == D

    def test_refusals(self):
        for arguments, message in (
            ((self.weight, np.eye(D - 1)), "weight has shape"),
            ((np.zeros((M, D)), np.eye(D)), "weight is all zeros"),
        ):
            with pytest.raises(ValueError, match=message):
                Regression.from_weight(*arguments)
        with pytest.raises(ValueError, match="ridge is -1"):
            Regression.from_weight(self.weight, np.eye(D), ridge=-1)
        with pytest.raises(ValueError, match="from_weight"):
            Regression.from_weight(self.weight, np.eye(D)).update(self.x, np.ones((M, 3)))
