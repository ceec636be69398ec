"""Where the methods start and where their first step goes: identities in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors
from finetune.adapters.deep_factors import chain
from finetune.methods import Dense
from tests.finetune.methods.starts import built, change, first_displacement, problem, truncated

thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)
START = jax.random.key(0)
UNCHANGED = [
    ("loraga", {}),
    thorough("loraga", {"direction": "A2rBr"}),
    thorough("loraga", {"direction": "ArBr", "scaling": "unit"}),
    ("loraone", {"variant": "talk"}),
    thorough("loraone", {"variant": "talk", "sign": "+grad", "preconditioned": True}),
    ("deeplora", {"compressed": False, "depth": 2}),
]


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64():
        yield


@pytest.mark.parametrize(("name", "options"), UNCHANGED)
def test_the_network_is_unchanged_at_first(name, options):
    kernels, gradients = problem()
    rank = {} if name == "deeplora" else {"rank": 2}
    method = built(name, **rank, **options)
    theta, aux = method.prepare(START, kernels, gradients)
    x = jax.random.normal(START, (4, 9), jnp.float64)
    out = method.apply(x, kernels["fc"], theta["fc"], aux["fc"], lambda x: x)
    assert np.array_equal(out, factors.matmul(x, kernels["fc"]))


@pytest.mark.parametrize(
    ("frames", "compressed"), [("gradient", True), ("transported", True), ("gradient", False)]
)
def test_a_deep_adapter_starts_tiny(frames, compressed):
    kernels, gradients = problem()
    method = built("deeplora", rank=4, frames=frames, compressed=compressed)
    theta, aux = method.prepare(START, kernels, gradients)
    values = np.linalg.svd(change(method, theta, aux, kernels["fc"]), compute_uv=False)
    # The difference of two products of size 1 is exact to 1e-15 only.
    product = np.linalg.multi_dot([np.asarray(f) for f in chain(theta["fc"])])
    values = np.linalg.svd(product, compute_uv=False)
    size = 4 if compressed else 7
    np.testing.assert_allclose(values[:size], 1e-9, rtol=1e-10)
    if frames == "gradient" and compressed:
        inner = np.sum(product * np.asarray(gradients["fc"]))
        top = np.linalg.svd(gradients["fc"], compute_uv=False)[:4].sum()
        np.testing.assert_allclose(inner, -1e-9 * top, rtol=1e-10)  # along minus the gradient


def test_lora_moves_along_a_random_projection_of_the_gradient():
    kernels, gradients = problem()
    method = built("lora", rank=2, alpha=6.0)
    moved, theta, _ = first_displacement(method, kernels, gradients)
    a = np.asarray(theta["fc"]["a"])
    np.testing.assert_allclose(moved, -9 * a @ a.T @ gradients["fc"], atol=1e-12)


@pytest.mark.parametrize("direction", ["ArB2r", "A2rBr", "ArBr"])
def test_lora_ga_moves_along_the_best_approximation_of_rank_2r(direction):
    kernels, gradients = problem()
    method = built("loraga", rank=2, direction=direction)
    moved, theta, aux = first_displacement(method, kernels, gradients)
    s, c = 16 / 2**0.5, 7**0.25 / 4
    expected = -((s * c) ** 2) * truncated(gradients["fc"], 4)
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    assert not np.allclose(moved, -((s * c) ** 2) * truncated(gradients["fc"], 3))
    # Orthogonal halves: that is what makes the two terms add up to rank 2 r.
    inner = np.asarray(theta["fc"]["a"]).T @ np.linalg.svd(gradients["fc"])[0][:, :4]
    assert (np.abs(inner) > 1e-9).sum() == 2
    assert aux["fc"]["gain"].tolist() == [s] * 2


# The end of a run with the printed sign is looked at below.
@pytest.mark.parametrize("sign", [thorough("+grad"), "-grad"])
def test_lora_one_moves_along_twice_the_best_approximation_of_rank_r(sign):
    kernels, gradients = problem()
    method = built("loraone", rank=3, variant="talk", sign=sign)
    moved, *_ = first_displacement(method, kernels, gradients)
    s, c = 16 / 3**0.5, 7**0.25 / 4
    np.testing.assert_allclose(moved, -2 * (s * c) ** 2 * truncated(gradients["fc"], 3), atol=1e-12)
    strength = built("loraone", rank=3, variant="talk", sign=sign, strength=0.09)
    moved, *_ = first_displacement(strength, kernels, gradients)
    np.testing.assert_allclose(moved, -2 * s**2 * 0.09 * truncated(gradients["fc"], 3), atol=1e-12)


def test_the_public_start_is_a_normalised_step_of_rank_r():
    kernels, gradients = problem()
    method = built("loraone", rank=2)
    theta, aux = method.prepare(START, kernels, gradients)
    top = np.linalg.norm(gradients["fc"], 2)
    expected = -(16 / 2**0.5) / 128 * truncated(gradients["fc"], 2) / top
    np.testing.assert_allclose(change(method, theta, aux, kernels["fc"]), expected, atol=1e-12)
    exported = method.export(kernels["fc"], theta["fc"], aux["fc"])
    assert exported.a.shape == (9, 2)
    np.testing.assert_allclose(exported.a @ exported.b, expected, atol=1e-12)


def test_the_spectral_start_is_a_step_of_rank_r():
    kernels, gradients = problem()
    method = built("loraone", rank=2, variant="spectral", strength=0.5, alpha=2.0)
    theta, aux = method.prepare(START, kernels, gradients)
    expected = -(2 / 2**0.5) * 0.5 * truncated(gradients["fc"], 2)
    np.testing.assert_allclose(change(method, theta, aux, kernels["fc"]), expected, atol=1e-12)
    a, b = np.asarray(theta["fc"]["a"]), np.asarray(theta["fc"]["b"])
    np.testing.assert_allclose(a.T @ a, b @ b.T, atol=1e-12)  # balanced


@pytest.mark.parametrize("rank", [0, 2])
def test_one_step_is_a_step_and_chooses_its_size(rank):
    kernels, gradients = problem()
    method = built("onestep", rank=rank)
    theta, aux = method.prepare(START, kernels, gradients)
    assert not change(method, theta, aux, kernels["fc"]).any()
    tried = []

    def loss(theta, aux):
        eta = float(np.max(next(iter(aux["fc"].values()))))
        tried.append(eta)
        return np.nan if eta > 1 else (eta - 0.06) ** 2

    theta, aux = method.settle(loss, theta, aux)
    assert tried == [10, 5, 1, 0.5, 0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4]
    expected = -0.05 * truncated(gradients["fc"], rank or 7)
    np.testing.assert_allclose(change(method, theta, aux, kernels["fc"]), expected, atol=1e-12)
    exported = method.export(kernels["fc"], theta["fc"], aux["fc"])
    assert isinstance(exported, Dense) is (rank == 0)
    product = exported.delta if rank == 0 else exported.a @ exported.b
    np.testing.assert_allclose(product, expected, atol=1e-12)
    fixed = built("onestep", rank=rank, step_size=0.3)
    theta, aux = fixed.settle(None, *fixed.prepare(START, kernels, gradients))
    expected = -0.3 * truncated(gradients["fc"], rank or 7)
    np.testing.assert_allclose(change(fixed, theta, aux, kernels["fc"]), expected, atol=1e-12)


def descended(sign, target, strength, steps, rate=0.05):
    """Risk after plain descent on 1/2 ||W - T||^2 from W = 0, the inputs having covariance I."""
    kernels = {"fc": jnp.zeros_like(target)}
    method = built("loraone", rank=2, variant="talk", sign=sign, strength=strength, alpha=2**0.5)
    theta, aux = method.prepare(START, kernels, {"fc": -target})
    eye = jnp.eye(target.shape[0], dtype=target.dtype)

    def loss(theta):
        out = method.apply(eye, kernels["fc"], theta["fc"], aux["fc"], lambda x: x)
        return jnp.sum((out - target) ** 2) / 2

    def step(theta, _):
        slope = jax.grad(loss)(theta)
        return jax.tree.map(lambda p, g: p - rate * g, theta, slope), None

    theta, _ = jax.lax.scan(step, theta, length=steps)
    return float(loss(theta))


@pytest.mark.thorough  # the first step above
def test_the_printed_sign_ends_in_a_saddle_and_the_default_does_not():
    values = np.array([2.0, 0.7])
    target = jnp.asarray(np.diag([*values, 0, 0])[:, :3])
    small, large = 0.3, 2.5
    saddle = np.sum(np.maximum(values - small, 0) ** 2) / 2
    np.testing.assert_allclose(descended("+grad", target, small, 400), saddle, rtol=1e-6)
    assert descended("-grad", target, small, 400) < 1e-6
    # Where s c^2 exceeds the change that is wanted, the printed sign is harmless.
    assert descended("+grad", target, large, 4000) < 1e-6
