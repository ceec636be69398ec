"""Dense changes cut down to factors within a tolerance."""

import numpy as np
import pytest

from finetune.methods import Dense, Factors
from finetune.peft import truncated


def dense(values, shape=(6, 9), seed=0):
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.normal(size=(n, len(values))))[0] for n in shape)
    return ((left * values) @ right.T).astype(np.float32)


@pytest.mark.parametrize(("tolerance", "rank"), [(0.5, 1), (0.3, 2), (0.1, 2), (0.001, 3)])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_the_least_rank_within_the_tolerance(tolerance, rank, shape):
    delta = dense([8.0, 4.0, 0.5], shape)
    result = truncated({"fc": Dense(delta)}, tolerance)
    change = result.changes["fc"]
    assert change.a.shape == (shape[0], rank) and change.a.dtype == np.float32
    error = np.linalg.norm(delta - change.a @ change.b) / np.linalg.norm(delta)
    assert result.errors["fc"] == pytest.approx(error, rel=1e-3, abs=1e-6) and error <= tolerance
    fewer = np.linalg.norm(delta - change.a[:, :-1] @ change.b[:-1]) / np.linalg.norm(delta)
    assert fewer > tolerance


def test_a_tolerance_of_zero_keeps_everything():
    delta = dense([8.0, 4.0, 0.5])
    change = truncated({"fc": Dense(delta)}, 0.0).changes["fc"]
    np.testing.assert_allclose(change.a @ change.b, delta, atol=1e-5)


def test_factors_stay_and_nothing_has_rank_0():
    own = Factors(np.ones((2, 1)), np.ones((1, 3)))
    result = truncated({"a": own, "b": Dense(np.zeros((2, 3), np.float32))}, 0.1)
    assert result.changes["a"] is own and result.changes["b"].a.shape == (2, 0)
    assert result.errors == {"b": 0.0}


def test_a_tolerance_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"truncate is 1.0; allowed are numbers in \[0, 1\)"):
        truncated({}, 1.0)
