"""The adapter of a rounded kernel, against the decomposition on the inputs themselves."""

import numpy as np
import pytest

from finetune.compression import directions
from finetune.compression.repair import repaired
from finetune.compression.rounding import integers


@pytest.mark.parametrize("shape", [(8, 6), (6, 8)])
@pytest.mark.parametrize("tokens", [5, 40])
def test_it_attains_the_least_output_error_at_every_rank(tokens, shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(tokens, shape[0])) * 10.0 ** rng.uniform(-1, 1, shape[0])
    kernel = rng.normal(size=shape)
    rounded = integers(kernel, bits=2)
    residual, gram = kernel - rounded, x.T @ x
    tails = np.linalg.svd(x @ residual, compute_uv=False) ** 2
    energy = np.sum((x @ kernel) ** 2)
    for rank in range(min(shape) + 1):
        a, b = repaired(kernel, rounded, rank, directions.metric(gram))
        assert a.shape == (shape[0], rank) and b.shape == (rank, shape[1])
        error = np.sum((x @ (residual - a @ b)) ** 2)
        assert error == pytest.approx(tails[rank:].sum(), abs=1e-9 * tails.sum())
        relative = directions.relative(residual - a @ b, kernel, gram)
        assert relative == pytest.approx(error / energy, abs=1e-9)
        plain = repaired(kernel, rounded, rank)
        least = np.linalg.svd(residual, compute_uv=False)[rank:]
        off = residual - plain.a @ plain.b
        assert np.linalg.norm(off) == pytest.approx(np.linalg.norm(least), abs=1e-9)
        if 0 < rank < min(*shape, tokens):  # the control: without the inputs it is worse
            assert np.sum((x @ off) ** 2) > 1.05 * error


def test_relative_error_of_nothing():
    zero = np.zeros((3, 2))
    assert directions.relative(zero + 1, zero) == 0
    assert directions.relative(zero + 1, zero + 1) == 1
