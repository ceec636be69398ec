"""Outputs that count unequally or may be shifted, against the least of recorded inputs."""

import numpy as np
import pytest

from finetune.compression.directions import leading
from finetune.compression.outputs import oblique, shifted

RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(size=size) for size in ((5, 7), (7, 5), (4, 4))]


def tail(matrix, rank):
    return np.linalg.norm(np.linalg.svd(matrix, compute_uv=False)[rank:])


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: str(kernel.shape))
def test_oblique_attains_the_tail_and_its_prefixes_too(kernel):
    size_in, size_out = kernel.shape
    x = RNG.normal(size=(3 * size_in, size_in)) * np.geomspace(1, 9, size_in)
    root = np.linalg.cholesky(np.cov(RNG.normal(size=(size_out, 3 * size_out))))
    left = root @ root.T
    a, b = oblique(kernel, x.T @ x, left, 3)
    for rank in (1, 2, 3):
        error = np.linalg.norm(x @ (kernel - a[:, :rank] @ b[:rank]) @ root)
        assert error == pytest.approx(tail(x @ kernel @ root, rank), rel=1e-9)
    plain = leading(kernel, x.T @ x).factors(2)
    worse = np.linalg.norm(x @ (kernel - plain.a @ plain.b) @ root)
    assert worse > 1.001 * tail(x @ kernel @ root, 2)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: str(kernel.shape))
def test_shifted_attains_the_tail_of_centred_outputs(kernel):
    x = RNG.normal(size=(40, len(kernel))) + 2
    factors, shift = shifted(kernel, x.T @ x / len(x), x.mean(axis=0), 2)
    error = np.linalg.norm(x @ (kernel - factors.a @ factors.b) - shift)
    y = x @ kernel
    assert error == pytest.approx(tail(y - y.mean(axis=0), 2), rel=1e-9)
    assert error < tail(y, 2)


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (np.eye(2), r"left has shape \(2, 2\); allowed is \(4, 4\)"),
        (np.diag([1.0, 1, 1, 0]), "left has the eigenvalue 0"),
        (np.triu(np.ones((4, 4))), "left differs from its transpose"),
        (np.full((4, 4), np.nan), "left contains NaN"),
    ],
)
def test_refused(left, words):
    with pytest.raises(ValueError, match=words):
        oblique(KERNELS[2], np.eye(4), left, 1)
    with pytest.raises(ValueError, match="mean has shape"):
        shifted(KERNELS[2], np.eye(4), np.ones(3), 1)
