"""Components without rounds: within the tolerance of numpy's, proved, by a method that is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Decomposition, Regression, Status, decompose
from deflation.direct import blocks, lanczos
from deflation.direct.choice import choose
from tests.deflation.problems import precision, thorough

DTYPES = ("float32", "float64")


def draw(m, d, values, dtype="float32") -> np.ndarray:
    g, n = np.random.default_rng(m + d), min(m, d)
    left, right = (np.linalg.qr(g.normal(size=(side, n)))[0] for side in (m, d))
    return ((left * np.resize(values, n)) @ right.T).astype(dtype)


def falling(m, d, dtype="float32", rate=0.9) -> np.ndarray:
    return draw(m, d, rate ** np.arange(min(m, d)), dtype)


def off(matrix, components) -> tuple[np.ndarray, float]:
    """Relative errors of the components, and of their sum."""
    b, a = (np.asarray(rows, np.float64) for rows in components)
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    r = len(b)
    wrong = b[:, :, None] * a[:, None] - (u * s).T[:r, :, None] * vt[:r, None]
    sizes = np.linalg.norm(b, axis=1)
    return np.linalg.norm(wrong, axis=(1, 2)) / sizes, np.linalg.norm(wrong.sum(0))


@pytest.mark.parametrize(
    ("m", "d", "rank"),
    [(80, 80, 4), (70, 130, 3), (130, 70, 17), (90, 90, 40), (40, 50, 3), (1, 9, 1), (9, 1, 1)],
)
@pytest.mark.parametrize("method", ["auto", "lanczos", "blocks", "exact"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_components_are_within_the_tolerance_and_proved(m, d, rank, method, dtype):
    if method in ("lanczos", "blocks") and 2 * rank > min(m, d):
        pytest.skip("refused")
    with precision(dtype):
        matrix = falling(m, d, dtype)
        solution = decompose(Regression.from_matrix(matrix), rank, method=method)
        errors, _ = off(matrix, solution.components)
        sizes = np.linalg.norm(solution.components.b, axis=1)
        assert solution.components.b.dtype == dtype and solution.status is Status.CONVERGED
        # Numpy's triplets in float64 have residuals of up to 50 eps, over gaps of .017.
        assert np.all(errors <= np.asarray(solution.bounds) / sizes + 1e-12)
        assert np.all(np.asarray(solution.bounds) <= 1e-3 * sizes + 1e-5)
        assert solution.decomposition in Decomposition and solution.decomposition.reason


@pytest.mark.parametrize("rank", [1, 3, 24])
def test_a_regression_has_its_own_coordinates(rank):
    g = np.random.default_rng(0)
    x, noise = g.normal(size=(70, 200)) * np.linspace(0.1, 3, 70)[:, None], g.normal(size=(80, 200))
    problem = Regression.from_data(x, falling(80, 70) @ x + 0.01 * noise)
    solution = decompose(problem, rank)
    matrix = np.asarray(problem.target)
    errors, _ = off(matrix, problem.to_whitened(solution.components))
    assert np.all(errors < 1e-3)


def test_more_effort_where_the_usual_one_does_not_reach(monkeypatch):
    asked = []

    def counted(*inputs):
        asked.append(inputs[-1])
        return leading(*inputs)

    leading = blocks.leading
    monkeypatch.setattr(blocks, "leading", counted)
    matrix = falling(200, 200, rate=0.97)
    problem = Regression.from_matrix(matrix)
    bare = decompose(problem, 8, tolerance=0.5, method="blocks", certify=False)
    assert bare.status is Status.NOT_PROVED and len(asked) == 1
    solution = decompose(problem, 8, tolerance=1e-3, method="blocks")
    assert solution.status is Status.CONVERGED and len(asked) > 2
    sizes = [effort.size for effort in asked[1:]]
    assert sizes == sorted(sizes) and np.all(off(matrix, solution.components)[0] < 1e-3)


def test_the_exact_answer_is_the_last_resort_and_says_so(monkeypatch):
    monkeypatch.setattr(blocks, "efforts", lambda *_: [])
    solution = decompose(Regression.from_matrix(falling(100, 100)), 20, method="blocks")
    assert solution.decomposition is Decomposition.GRAM and solution.status is Status.CONVERGED

    def broken(*inputs):
        raise np.linalg.LinAlgError

    monkeypatch.setattr(lanczos, "leading", broken)
    solution = decompose(Regression.from_matrix(falling(100, 100)), 2, method="lanczos")
    assert solution.decomposition is Decomposition.GRAM and solution.status is Status.CONVERGED


def test_of_a_plateau_the_sum_takes_less_than_its_components():
    values = np.where(np.arange(120) < 10, 1, 0.1)
    problem = Regression.from_matrix(draw(120, 120, values))
    whole = decompose(problem, 10, error="sum", method="blocks")
    assert whole.status is Status.CONVERGED and whole.decomposition is Decomposition.BLOCKS
    assert float(whole.bound_of_sum) <= 1e-3 * 10**0.5
    parts = decompose(problem, 10, method="blocks")
    assert parts.status is Status.SMALL_GAP


@pytest.mark.parametrize("method", ["lanczos", "blocks"])
def test_a_matrix_of_lower_rank_has_zero_components(method):
    matrix = draw(90, 80, np.where(np.arange(80) < 3, 3.0 - np.arange(80), 0))
    solution = decompose(Regression.from_matrix(matrix), 5, method=method)
    sizes = np.linalg.norm(solution.components.b, axis=1)
    assert np.allclose(sizes, [3, 2, 1, 0, 0], atol=1e-4)
    assert np.linalg.norm(matrix - np.asarray(solution.components.matrix())) < 1e-4


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("method", ["lanczos", "blocks"])
def test_units_do_not_matter(method, scale):
    matrix = falling(90, 80)
    one, other = (
        decompose(Regression.from_matrix(matrix * np.float32(unit)), 4, method=method)
        for unit in (1, scale)
    )
    assert other.status is Status.CONVERGED
    np.testing.assert_allclose(other.components.b / scale, one.components.b, atol=2e-3)


def test_what_is_not_in_memory_is_taken_in_rounds():
    matrix = jnp.asarray(falling(30, 20, rate=0.5))
    problem = Regression.from_operator(lambda v: matrix @ v, lambda u: u @ matrix, (30, 20))
    solution = decompose(problem, 3)
    assert solution.decomposition is Decomposition.ROUNDS and solution.status is Status.CONVERGED
    assert decompose(problem, 3, error="sum").decomposition is Decomposition.ROUNDS
    with pytest.raises(ValueError, match="method is 'blocks'; allowed for an operator"):
        decompose(problem, 3, method="blocks")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.0}, "tolerance is 0.0; allowed are numbers > 0"),
        ({"error": "both"}, "error is 'both'; allowed are 'components', 'sum'"),
        ({"method": "svd"}, "method is 'svd'; allowed are 'auto', 'exact', 'lanczos'"),
        ({"rank": 81}, "rank is 81; allowed are integers from 1 to 80"),
        ({"rank": 41, "method": "lanczos"}, "rank above half of min"),
        ({"certify": 1}, "certify is 1; allowed are True and False"),
    ],
)
def test_refusals(options, message):
    problem = Regression.from_matrix(falling(90, 80))
    with pytest.raises(ValueError, match=message):
        decompose(problem, **({"rank": 3} | options))


@pytest.mark.filterwarnings("ignore:invalid value")  # which is what they are
@pytest.mark.parametrize("method", ["blocks", "exact"])
def test_a_target_that_is_not_finite_is_told(method):
    # A constructor that is traced cannot see its entries.
    made = jax.jit(Regression.from_matrix)(jnp.full((90, 80), jnp.nan))
    assert decompose(made, 3, method=method).status is Status.NOT_FINITE


def test_a_traced_problem_is_refused():
    with pytest.raises(ValueError, match="problem is traced"):
        jax.jit(lambda x: decompose(Regression.from_matrix(x), 2).components.b)(jnp.eye(80))


def test_every_size_has_a_method():
    for side in (1, 2, 5, 64, 65, 200, 512, 1024, 4096):
        for rank in {1, 2, 8, 24, 64, 256, side} & set(range(1, side + 1)):
            for error in ("components", "sum"):
                chosen = choose((side, 2 * side), rank, error)
                if chosen is Decomposition.BLOCKS:
                    assert len(blocks.efforts(rank, side)) >= 2
                assert chosen in (Decomposition.GRAM, Decomposition.LANCZOS, Decomposition.BLOCKS)


@pytest.mark.parametrize("dtype", ["float32", thorough("float64")])
def test_rows_are_orthonormal_however_much_they_depend_on_each_other(dtype):
    g = np.random.default_rng(0)
    basis = np.linalg.qr(g.normal(size=(60, 10)))[0].T.astype(dtype)
    wild = g.normal(size=(6, 60)) * np.logspace(0, -12, 6)[:, None]
    for rows in (wild, np.vstack([wild[:3], wild[:3]]), basis[:6] + 1e-5 * wild, 0 * wild):
        both = np.vstack([basis, blocks.orthonormal(rows.astype(dtype), basis)])
        assert np.abs(both @ both.T - np.eye(16)).max() < 40 * np.finfo(dtype).eps


@pytest.mark.parametrize("method", ["auto", "exact", "rounds"])
def test_a_sum_is_judged_as_one(method):
    """Of sixty components the last ones turn into each other, and their sum is proved."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(100, 40)), rng.normal(size=(40, 90))
    matrix = ((left * 0.7 ** np.arange(40)) @ right).astype(np.float32)
    problem = Regression.from_matrix(matrix)
    solution = decompose(problem, 30, error="sum", method=method)
    assert solution.status is Status.CONVERGED
    missed = np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[30:])
    assert float(problem.residual(solution.components)) <= missed + 1e-3 * np.linalg.norm(matrix)


def test_a_gap_that_a_better_attempt_sees_is_no_end():
    values = np.concatenate([[1, 0.998, 0.996], 0.5 * 0.99 ** np.arange(197)])
    solution = decompose(Regression.from_matrix(draw(200, 200, values)), 3, tolerance=1e-5)
    assert solution.status is Status.CONVERGED
