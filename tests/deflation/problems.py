"""Problems that the tests share: few shapes, so that few programs are compiled."""

import contextlib

import jax
import numpy as np
import pytest

from deflation import Regression

M, D, N, R = 6, 5, 40, 3
SIZES = (5.0, 3.0, 2.0, 1.0, 0.5)
# What summing a few dozen products rounds to, relative to the largest one.
ROUNDING = {"float32": 1e-6, "float64": 1e-12}


def thorough(*values):
    """A case of a parametrised test that is left out by default: a further combination of values
    that other cases hold one by one."""
    return pytest.param(*values, marks=pytest.mark.thorough)


def by_turns(values, others) -> list:
    """Pairs for a parametrised test: each of `values` beside one of `others`, which take turns, and
    thorough ones beside the rest of them."""
    return [
        (value, other) if number % len(others) == place else thorough(value, other)
        for number, value in enumerate(values)
        for place, other in enumerate(others)
    ]


@contextlib.contextmanager
def precision(dtype: str):
    """float64 is an opt-in of JAX; the library never makes that choice."""
    with jax.enable_x64(dtype == "float64"):
        yield


def orthonormal(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(rows, columns)))[0]


def matrix(sizes=SIZES, seed=0) -> np.ndarray:
    """An (M, D) matrix with the given singular values, float64."""
    sizes = np.pad(np.asarray(sizes, float), (0, D - len(sizes)))
    return (orthonormal(M, D, seed) * sizes) @ orthonormal(D, D, seed + 100).T


def data(seed=0, n=N, noise=0.1, condition=10.0) -> tuple[np.ndarray, np.ndarray]:
    """x (D, n) of the given condition number and y (M, n) with the singular values SIZES in its
    explained part (for n >= D), float64."""
    k = min(D, n)
    scales = np.geomspace(1, 1 / condition, k)
    basis = orthonormal(n, k, seed + 200)
    x = (orthonormal(D, k, seed + 300) * scales) @ basis.T
    rest = noise * np.random.default_rng(seed + 400).normal(size=(M, n))
    y = matrix(seed=seed)[:, :k] @ basis.T + rest - (rest @ basis) @ basis.T
    return x, y


def collinear(n=N, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """x (D, n) of rank D - 1: the last row is a combination of others."""
    x, y = data(seed, n)
    x[-1] = x[0] + x[1] - x[2]
    return x, y


def from_matrix(sizes=SIZES, seed=0) -> Regression:
    return Regression.from_matrix(matrix(sizes, seed))


def from_data(**options) -> Regression:
    return Regression.from_data(*data(**options))


def triplets(target, rank: int = R) -> np.ndarray:
    """The leading rank-one maps of a matrix (rank, M, D), by numpy in float64."""
    u, s, vt = np.linalg.svd(np.asarray(target, np.float64))
    return np.stack([s[k] * np.outer(u[:, k], vt[k]) for k in range(rank)])


def maps(components) -> np.ndarray:
    """b_k a_k^T of every component, float64."""
    b, a = (np.asarray(rows, np.float64) for rows in components)
    return b[:, :, None] * a[:, None, :]


def errors(problem, components, rank: int = R) -> np.ndarray:
    """Relative error of every component in whitened coordinates against numpy's triplets."""
    reference = triplets(problem.target, rank)
    gap = maps(problem.to_whitened(components))[:rank] - reference
    return np.linalg.norm(gap, axis=(1, 2)) / np.linalg.norm(reference, axis=(1, 2))


def close(got, wanted, dtype: str, factor: float = 1.0, scale: float = 0.0) -> None:
    """got equals wanted up to rounding of the largest entry (or of `scale`, if that is larger)."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    scale = max(np.abs(wanted).max(initial=0), scale)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=factor * ROUNDING[dtype] * scale)


def one_line(error) -> str:
    """The text of a caught error, which must be a single line."""
    text = str(error.value)
    assert text.strip() and "\n" not in text, text
    return text
