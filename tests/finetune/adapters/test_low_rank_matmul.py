"""A product with a changed kernel, beside the sum of two products that it stands for."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors, low_rank_matmul
from finetune.models.parts.ops import matmul

SIZES = st.tuples(*[st.integers(1, 6)] * 4)


def problem(leading, size_in, size_out, rank):
    draw = np.random.default_rng(0)
    shapes = (*leading, size_in), (size_in, size_out), (size_in, rank), (rank,), (rank, size_out)
    return [draw.normal(size=shape).astype(np.float32) for shape in shapes]


def plain(x, kernel, a, gain, b):
    return matmul(x, kernel) + matmul(matmul(x, a) * gain, b)


@hypothesis.settings(deadline=None, max_examples=6, derandomize=True)
@hypothesis.given(sizes=SIZES, rank=st.integers(0, 3))
def test_values_and_gradients_are_those_of_the_sum(sizes, rank):
    given = problem(sizes[:2], *sizes[2:], rank)

    @jax.jit
    def both(*given):
        got, back = jax.vjp(low_rank_matmul.matmul, *given)
        expected, plain_back = jax.vjp(plain, *given)
        return (got, *back(got)), (expected, *plain_back(got))

    # Rounding relative to the largest entry: sums of at most 36 products of products in float32.
    pairs = zip(*both(*given), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max(initial=1))


def test_forward_mode():
    given = problem((2, 3), 4, 5, 2)
    changes = [leaf[..., ::-1] for leaf in given]
    both = jax.jit(lambda *at: [jax.jvp(f, *at) for f in (low_rank_matmul.matmul, plain)])
    for one, other in zip(*both(given, changes), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * np.abs(other).max())


def test_second_derivatives():
    given = problem((3,), 4, 2, 1)

    def curvature(product):
        slope = jax.grad(lambda a: jnp.square(product(*given[:2], a, *given[3:])).sum())
        return jax.jit(jax.jacrev(slope))(given[2])

    np.testing.assert_allclose(
        curvature(low_rank_matmul.matmul), curvature(plain), rtol=1e-4, atol=1e-4
    )


def test_a_component_without_effect_changes_no_bit():
    x, kernel, a, gain, b = problem((5,), 4, 3, 2)
    expected = matmul(x, kernel)
    np.testing.assert_array_equal(low_rank_matmul.matmul(x, kernel, a, gain, 0 * b), expected)
    np.testing.assert_array_equal(low_rank_matmul.matmul(x, kernel, a, 0 * gain, b), expected)


@pytest.mark.parametrize(
    ("rows", "dtype", "drop", "merged"),
    [
        (12, jnp.float32, lambda x: x, True),
        (2, jnp.float32, lambda x: x, False),  # 6 * 4 > 2 * (6 + 4)
        (12, jnp.bfloat16, lambda x: x, False),
        (12, jnp.float32, lambda x: 2 * x, False),
    ],
)
def test_the_kernel_is_changed_where_that_is_cheaper_and_exact(rows, dtype, drop, merged):
    x, kernel, a, gain, b = problem((rows,), 6, 4, 2)
    x, theta, aux = x.astype(dtype), {"a": a, "b": b}, {"gain": gain}
    traced = jax.make_jaxpr(lambda x: factors.apply(x, kernel, theta, aux, drop))(x)
    assert ("custom_jvp" in str(traced)) is merged
    got = factors.apply(x, kernel, theta, aux, drop)
    assert got.dtype == dtype
    at = drop(x).astype(jnp.float32)
    expected = matmul(x.astype(jnp.float32), kernel) + matmul(matmul(at, a) * gain, b)
    bound = 1e-5 if dtype == jnp.float32 else 0.05
    assert np.abs(got - expected).max() <= bound * np.abs(expected).max()
