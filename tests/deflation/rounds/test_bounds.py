"""Bounds hold against numpy's triplets, are hardly looser, and say what they rest on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from deflation import Components, Regression
from deflation.rounds.bounds import certify
from deflation.rounds.ritz import SMALL, measure, program
from tests.deflation.problems import (
    D,
    R,
    by_turns,
    from_matrix,
    maps,
    matrix,
    orthonormal,
    precision,
    thorough,
)

DTYPES = ("float32", "float64")
LARGE = SMALL + 16
# Of numpy's triplets, whose residuals in float64 are up to 50 eps of the largest value, 5; those of
# the bounds are computed with more digits.
DOUBT = 50 * np.finfo(np.float64).eps * 5


def large(sizes, transposed=False) -> np.ndarray:
    """Of a side that is not searched as a whole."""
    sizes = np.pad(np.asarray(sizes, float), (0, LARGE - len(sizes)))
    full = (orthonormal(LARGE + 4, LARGE, 0) * sizes) @ orthonormal(LARGE, LARGE, 1).T
    return full.T if transposed else full


def leading(target, off: float, seed=0) -> Components:
    """The leading factors (R, .), moved by about `off` of their size in a random direction."""
    vt = np.linalg.svd(target)[2]
    g = np.random.default_rng(seed)
    a = vt[:R] + off * g.normal(size=(R, vt.shape[1])) / vt.shape[1] ** 0.5
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    return Components(jnp.asarray(a @ target.T), jnp.asarray(a))


def far(target, factors) -> tuple[np.ndarray, float]:
    """True errors of the components, and of their sum."""
    u, s, vt = np.linalg.svd(np.asarray(target, np.float64), full_matrices=False)
    off = maps(factors) - np.stack([s[k] * np.outer(u[:, k], vt[k]) for k in range(R)])
    return np.linalg.norm(off, axis=(1, 2)), np.linalg.norm(off.sum(0))


TARGETS = {
    "tall": lambda: matrix(),
    "wide": lambda: matrix().T,
    "large": lambda: large((5, 3, 2, *np.linspace(1, 0.1, 40))),
    "large, wide": lambda: large((5, 3, 2, *np.linspace(1, 0.1, 40)), True),
}


# Of a wide target that is large the bounds search what they do of a tall one.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *by_turns(("tall", "wide", "large"), DTYPES),
        *(thorough("large, wide", dtype) for dtype in DTYPES),
    ],
)
def test_bounds_hold_and_are_close(name, dtype):
    with precision(dtype):
        target = TARGETS[name]().astype(dtype)
        for off in (0.1, 1e-2, 1e-4, 0):
            factors = Components(*(rows.astype(dtype) for rows in leading(target, off)))
            bounds = certify(target, factors, R)
            errors, whole = far(target, factors)
            assert np.all(errors <= bounds.components + DOUBT)
            assert whole <= bounds.of_sum + DOUBT
            # Rounding in products of a few dozen rows, over the gaps: 50 in those of XLA, 80 in
            # those of numpy's library, which sums in another order.
            room = 100 * bounds.noise
            # Beside a large problem's components only a mixture of their residuals is searched.
            factor = 3 if name.startswith("large") else 1.5
            assert np.all(bounds.components <= factor * errors + room)
            assert bounds.of_sum <= factor * whole + room


def test_the_host_measures_what_a_program_does():
    with precision("float64"):
        target = TARGETS["large"]()
        factors = leading(target, 1e-2)
        inputs = jnp.asarray(target), factors, jnp.asarray(R)
        one, other = measure(*inputs), program(*inputs)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-6, 1e-12), one, other)
        assert isinstance(one.values, np.ndarray) and isinstance(other.values, jax.Array)


def test_a_target_that_is_not_finite_has_no_bounds():
    broken = np.full((LARGE, LARGE), np.nan, np.float32)
    ends = leading(large((5, 3, 2)), 0)
    factors = Components(*(rows.astype(np.float32) for rows in ends))
    wide = Components(jnp.ones((R, LARGE)), factors.a)
    assert not np.any(np.isfinite(certify(jnp.asarray(broken), wide, R).components))


# Statuses that rest on traced bounds test_outcome.py holds.
@pytest.mark.thorough
def test_traced_bounds_are_those_of_the_host():
    with precision("float64"):
        target = matrix()
        factors = leading(target, 1e-2)
        got = jax.jit(lambda t, f: certify(t, f, R))(target, factors)
        for one, other in zip(got, certify(target, factors, R), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5, 0])
def test_a_direction_that_the_components_miss_is_found_in_their_residuals(gap):
    """The last component is a mixture with what comes after it, so slightly that it hardly moves:
    neither its size nor its residual says so, its residual's direction does."""
    with precision("float64"):
        target = large((5, 3, 2, 2 - gap, *np.linspace(1, 0.1, 40)))
        vt = np.linalg.svd(target)[2]
        a = vt[:R].copy()
        a[-1] = np.cos(0.1) * vt[R - 1] + np.sin(0.1) * vt[R]
        factors = Components(jnp.asarray(a @ target.T), jnp.asarray(a))
        bounds = certify(jnp.asarray(target), factors, jnp.asarray(R))
        errors, whole = far(target, factors)
        assert np.all(bounds.components[:2] < 1e-12)
        assert bounds.components[2] >= (errors[2] if gap else 0.1)
        assert bounds.of_sum >= (whole if gap else 0.1)
        if gap >= 1e-3:
            assert bounds.components[2] < 1.01 * errors[2]


@pytest.mark.parametrize("name", ["tall", "large"])
def test_a_component_that_was_missed_altogether(name):
    """Exact triplets 1, 2 and 4: no residual at all, and no place in the order of the third."""
    with precision("float64"):
        target = TARGETS[name]()
        u, s, vt = np.linalg.svd(target)
        chosen = [0, 1, 3]
        b = s[chosen, None] * u.T[chosen]
        factors = Components(jnp.asarray(b), jnp.asarray(vt[chosen]))
        bounds = certify(jnp.asarray(target), factors, jnp.asarray(R))
        assert np.all(bounds.components[:2] < 1e-11)
        assert bounds.components[2] >= far(target, factors)[0][2] > 1


def test_what_is_proved():
    """A small side is searched as a whole; for a large one ||M||_F decides; not of an operator."""
    small = certify(jnp.asarray(matrix()), leading(matrix(), 0), jnp.asarray(R))
    low, flat = large((5, 3, 2, 0.1, 0.1)), large((5, 3, 2, *[1] * 60))
    proofs = [
        certify(jnp.asarray(target), leading(target, 0), jnp.asarray(R)).proved
        for target in (low, flat)
    ]
    left, right = (jnp.asarray(side, "float32") for side in (low, low.T))
    operator = Regression.from_operator(lambda v: left @ v, lambda u: right @ u, low.shape)
    assumed = certify(operator.target, leading(low, 0), jnp.asarray(R))
    got = [bool(proved) for proved in (small.proved, *proofs, assumed.proved)]
    assert got == [True, True, False, False]


def test_ties_have_no_components_and_a_sum():
    with precision("float64"):
        target = matrix((3, 2, 2, 0.2))
        bounds = certify(jnp.asarray(target), leading(target, 0), jnp.asarray(R))
        assert bounds.components[0] < 1e-13 and np.all(bounds.components[1:] > 1)
        assert np.all(bounds.limits[1:] > 1) and bounds.of_sum < 1e-13


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_units_do_not_matter(scale):
    target = matrix().astype("float32")
    factors = Components(*(rows.astype("float32") for rows in leading(target, 1e-2)))
    one = certify(jnp.asarray(target), factors, jnp.asarray(R))
    scaled = Components(factors.b * scale, factors.a)
    other = certify(jnp.asarray(target * np.float32(scale)), scaled, jnp.asarray(R))
    np.testing.assert_allclose(other.components / scale, one.components, rtol=1e-3)
    np.testing.assert_allclose(other.of_sum / scale, one.of_sum, rtol=1e-3)


def test_fewer_components_than_were_found():
    """Those that are not kept are searched, and only their predecessors are bounded."""
    with precision("float64"):
        factors = leading(matrix(), 1e-3)
        bounds = certify(from_matrix().target, factors, jnp.asarray(R - 1))
        errors, _ = far(matrix(), factors)
        assert np.all(errors[:-1] <= bounds.components[:-1] + DOUBT) and bounds.components[-1] == 0
        best = np.linalg.norm((maps(factors) - maps(leading(matrix(), 0)))[:-1].sum(0))
        assert best <= bounds.of_sum < 1.5 * best
        assert D > R
