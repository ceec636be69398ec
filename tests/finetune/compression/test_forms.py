"""Forms of one map: the same function from fewer numbers."""

import numpy as np
import pytest

from finetune.adapters.method import Factors
from finetune.compression import forms


def factors(size_in, size_out, rank, seed=0):
    rng = np.random.default_rng(seed)
    return Factors(rng.normal(size=(size_in, rank)), rng.normal(size=(rank, size_out)))


@pytest.mark.parametrize(("shape", "rank"), [((9, 5), 3), ((5, 9), 5), ((4, 4), 1)])
def test_pivot_is_exact_and_as_large_as_counted(shape, rank):
    product = factors(*shape, rank)
    form = forms.pivot(product)
    np.testing.assert_allclose(form.dense(), product.a @ product.b, atol=1e-12)
    assert form.rows.size + form.rest.size == forms.cost("pivot", *shape, rank)
    assert abs(form.rest).max(initial=0) < 10


def test_pivot_of_fewer_independent_rows():
    a, b = factors(6, 4, 1)
    product = Factors(np.hstack([a, 2 * a]), np.vstack([b, b[:, ::-1]]))
    np.testing.assert_allclose(forms.pivot(product).dense(), product.a @ product.b, atol=1e-12)


@pytest.mark.parametrize("form", ["factors", "pivot"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.95])
def test_the_largest_rank_is_the_last_that_fits(form, ratio):
    rank = forms.largest_rank(form, 30, 20, ratio)
    assert forms.cost(form, 30, 20, rank) <= ratio * 600
    assert rank == 20 or forms.cost(form, 30, 20, rank + 1) > ratio * 600
