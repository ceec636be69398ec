"""Exact answers of small float32 matrices by their Gram: those of float64, or none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Decomposition, Regression, Status, exact
from deflation.problem import gram


def draw(m, d, decay=0.3):
    g = np.random.default_rng(0)
    left, right = (np.linalg.qr(g.normal(size=(n, min(m, d))))[0] for n in (m, d))
    values = np.exp(-decay * np.arange(min(m, d)))
    return ((left * values) @ right.T).astype(np.float32)


def maps(b, a):
    return np.asarray(b, np.float64)[:, :, None] * np.asarray(a, np.float64)[:, None, :]


@pytest.mark.parametrize(
    ("m", "d", "rank"), [(9, 6, 3), (6, 9, 3), (6, 6, 6), (1, 4, 1), (5, 1, 1)]
)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_components_are_those_of_double_precision(m, d, rank, scale):
    matrix = (draw(m, d) * np.float32(scale)).astype(np.float32)
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    solution = exact(Regression.from_matrix(matrix), rank, certify=False)
    assert solution.decomposition is Decomposition.GRAM
    b, a = solution.components
    off = maps(b, a) - maps((u * s).T[:rank], vt[:rank])
    assert np.all(np.linalg.norm(off / scale, axis=(1, 2)) <= 2e-7 * s[:rank] / scale)
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
    peaks = np.take_along_axis(np.asarray(b), np.abs(b).argmax(axis=1)[:, None], axis=1)
    assert np.all(peaks > 0)


def test_bounds_are_proved_as_of_the_others():
    solution = exact(Regression.from_matrix(draw(9, 6)), 3)
    assert solution.decomposition is Decomposition.GRAM
    assert solution.status is Status.CONVERGED and bool(solution.proved)
    bare = exact(Regression.from_matrix(draw(9, 6)), 3, certify=False)
    assert bare.status is Status.NOT_PROVED and np.all(np.isinf(bare.bounds))


@pytest.mark.parametrize("problem", ["low rank", "large", "double"])
def test_what_a_gram_cannot_tell_is_left_to_the_whole_decomposition(problem, monkeypatch):
    matrix = draw(9, 6)
    if problem == "low rank":
        matrix = matrix[:, :1] @ matrix[:1]
    if problem == "large":
        monkeypatch.setattr(gram, "SIDE", 5)
    with jax.enable_x64(problem == "double"):
        target = matrix.astype(np.float64 if problem == "double" else np.float32)
        solution = exact(Regression.from_matrix(target), 3, certify=False)
    assert solution.decomposition is Decomposition.SVD


def test_traced_it_is_the_whole_decomposition_and_says_so():
    matrix = jnp.asarray(draw(9, 6))
    answer = jax.jit(lambda x: exact(Regression.from_matrix(x), 2, certify=False))(matrix)
    assert int(answer.decomposition) == Decomposition.SVD
    size = jax.grad(lambda x: exact(Regression.from_matrix(x), 1).components.b.sum())(matrix)
    assert np.all(np.isfinite(size)) and np.any(size != 0)
