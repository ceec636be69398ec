"""What goes wrong in other implementations of methods on pairs, one test for each hazard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters.method import Run
from finetune.methods import MethodConfig, make
from finetune.methods.registry import METHODS
from finetune.optimiser import OptimiserConfig
from finetune.optimisers.small_matrices import damped_inverse, inverse_root
from finetune.training import step
from tests.finetune.methods import linear
from tests.finetune.training import small

RATE = OptimiserConfig(learning_rate=0.02, schedule="constant", warmup=0)
SGD = dataclasses.replace(RATE, name="sgd")


def built(name, options=RATE, **settings):
    return make(MethodConfig(name, **settings), options, 100)


def random_pairs(paths, seed=0, rank=2, shape=(6, 5), dtype=np.float64):
    """path -> random a and b; of the same sizes, so that a swap would go unnoticed."""
    generator = np.random.default_rng(seed)
    return {
        path: {
            "a": generator.normal(size=(shape[0], rank)).astype(dtype),
            "b": generator.normal(size=(rank, shape[1])).astype(dtype),
        }
        for path in paths
    }


def steps(method, theta, gradients):
    """theta after a step on each of the gradients."""
    opt, update = method.tx.init(theta), jax.jit(method.tx.update)
    for t, result in enumerate(gradients):
        updates, opt = update(result, opt, theta, step=jnp.asarray(t, jnp.int32))
        theta = jax.tree.map(jnp.add, theta, updates)
    return theta


@pytest.mark.parametrize("name", ["plora", pytest.param("rite", marks=pytest.mark.thorough)])
def test_row_10_pairs_are_found_by_path(name):
    """A module moves as it would alone, whatever stands beside it and in whatever order."""
    # RITE clips all modules together.
    alone = {"unmagnified_clip": 0.0} if name == "rite" else {}
    method = built(name, rank=2, **alone)
    with jax.enable_x64(True):
        paths = ["b.fc", "a.fc", "c.wide"]
        theta = random_pairs(paths[:2]) | random_pairs(paths[2:], 5, shape=(6, 9))
        gradients = [
            random_pairs(paths[:2], s) | random_pairs(paths[2:], s + 9, shape=(6, 9))
            for s in (1, 2, 3)
        ]
        together = steps(method, theta, gradients)
        backwards = [dict(reversed(result.items())) for result in gradients]
        again = steps(method, dict(reversed(theta.items())), backwards)
        for path in paths:
            own = steps(method, {"own": theta[path]}, [{"own": g[path]} for g in gradients])
            for leaf in "ab":
                np.testing.assert_allclose(together[path][leaf], own["own"][leaf], rtol=1e-12)
                np.testing.assert_array_equal(together[path][leaf], again[path][leaf])


def test_row_11_the_head_has_its_own_rate():
    """The fast group of LoRA+ holds every b and nothing else: no bias of the head."""
    moves = {}
    for ratio in (1.0, 16.0):
        run = small.Run(MethodConfig("loraplus", ratio=ratio), options=SGD)
        theta = jax.tree.map(lambda leaf: leaf + 0.1, run.first.theta)
        first = run.first._replace(theta=theta)
        state, _ = run.step(first, run.net.params, run.batch(0))
        moves[ratio] = jax.tree.map(jnp.subtract, (state.theta, state.head), (theta, first.head))
    (slow, slow_head), (fast, fast_head) = moves[1.0], moves[16.0]
    assert small.same(slow_head, fast_head)
    assert any(name.endswith("bias") for name in slow_head)
    for path, leaves in slow.items():
        np.testing.assert_allclose(fast[path]["a"], leaves["a"], atol=1e-7)
        np.testing.assert_allclose(fast[path]["b"], 16 * leaves["b"], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("damping", [1e-6, pytest.param(1.0, marks=pytest.mark.thorough)])
def test_row_15_plora_from_zero(damping):
    """The first step divides g_a = 0 by lambda; later ones divide by the little that b is."""
    run = small.Run(MethodConfig("plora", damping=damping))
    states = run.states()
    for path, leaves in states[0].theta.items():
        assert small.same(leaves["a"], states[1].theta[path]["a"])
        assert not np.array_equal(leaves["b"], states[1].theta[path]["b"])
        assert not np.array_equal(leaves["a"], states[2].theta[path]["a"])
    for state in states:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.theta, state.opt)))


def test_row_15_rite_from_zero():
    """R_b^+ = 0, so a waits for one step and then moves."""
    states = small.Run("rite").states()
    for path, leaves in states[0].theta.items():
        assert small.same(leaves["a"], states[1].theta[path]["a"])
        assert not np.array_equal(leaves["b"], states[1].theta[path]["b"])
        assert not np.array_equal(leaves["a"], states[2].theta[path]["a"])
    for state in states:
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.theta, state.opt)))


def test_row_16_eigenvalues_below_zero_count_as_zero():
    vector = jnp.array([[1.0], [1.0]]) / jnp.sqrt(2)
    other = jnp.array([[1.0], [-1.0]]) / jnp.sqrt(2)
    gram = 4 * vector @ vector.T - 1e-5 * other @ other.T
    assert np.linalg.eigvalsh(gram)[0] < -1e-6
    np.testing.assert_allclose(vector.T @ inverse_root(gram, 1e-3) @ vector, 1 / 2.001, rtol=1e-4)
    np.testing.assert_allclose(other.T @ inverse_root(gram, 1e-3) @ other, 1e3, rtol=1e-3)
    np.testing.assert_allclose(other.T @ damped_inverse(gram, 1e-6) @ other, 1e6, rtol=1e-3)


@pytest.mark.parametrize(
    ("rank", "name"),
    [
        *((2, "plora"), (7, "rite")),
        *(pytest.param(*one, marks=pytest.mark.thorough) for one in ((7, "plora"), (2, "rite"))),
    ],
)
def test_row_16_factors_and_gradients_without_full_rank_stay_finite(name, rank):
    """Components that are copies of one another or zero, and ranks above the kernel's own."""
    method = built(name, rank=rank)
    theta = random_pairs(["fc", "other"], rank=rank, dtype=np.float32)
    theta["fc"] = {"a": theta["fc"]["a"][:, [0] * rank], "b": theta["fc"]["b"] * 0}
    theta["other"]["b"] = theta["other"]["b"][[0] * rank] * 30
    gradients = [random_pairs(theta, s, rank=rank, dtype=np.float32) for s in range(6)]
    gradients[3] = jax.tree.map(np.zeros_like, gradients[3])
    last = steps(method, theta, gradients)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))


def change(theta):
    return {path: np.asarray(leaves["a"]) @ leaves["b"] for path, leaves in theta.items()}


def trajectories(method, starts, aux, x, kernels, y, count=40):
    """a b of every module after each step, from each of the starts."""
    target = linear.chain(method, x, kernels, y)
    head = {"bias": jnp.zeros(y.shape[1])}

    @jax.jit
    def train(theta, opt, t):
        result = jax.grad(lambda theta: target.loss(theta, aux, head))(theta)
        updates, opt = method.tx.update(result, opt, theta, step=t)
        return jax.tree.map(jnp.add, theta, updates), opt

    for theta in starts:
        opt, result = method.tx.init(theta), [change(theta)]
        for t in range(count):
            theta, opt = train(theta, opt, jnp.asarray(t, jnp.int32))
            result.append(change(theta))
        yield result


def apart(left, right):
    """The largest difference over a trajectory."""
    return max(
        float(np.abs(np.asarray(x) - y).max())
        for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


@pytest.mark.parametrize("name", ["rite", "lora"])
@pytest.mark.parametrize("zero", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_only_rite_does_not_depend_on_the_factors_of_a_change(name, zero):
    """a -> a M, b -> M^-1 b; Adam is the control."""
    with jax.enable_x64(True):
        x, kernels, y = linear.chain_data()
        run = Run(dataclasses.replace(RATE, weight_decay=0.1), 100)
        method = METHODS[name].build(MethodConfig(name, rank=2, alpha=2.0).settings, run)
        theta, aux = method.prepare(jax.random.key(0), kernels, None)
        if not zero:
            theta = linear.trained(theta, aux)
        generator = np.random.default_rng(1)
        other = {}
        for path, leaves in theta.items():
            m = jnp.asarray(generator.normal(size=(2, 2)))
            other[path] = {"a": leaves["a"] @ m, "b": jnp.linalg.solve(m, leaves["b"])}
        one, two = trajectories(method, (theta, other), aux, x, kernels, y)
        moved = apart(one[0], one[-1])
        assert moved > 0.1
        if name == "rite":
            assert apart(one, two) < 1e-12
        else:
            assert apart(one, two) > 1e-3 * moved


def test_rite_bounds_its_own_gradients_and_leaves_the_head_to_the_trainer():
    ends = []
    for clip in (1e-12, 1e9):
        run = small.Run("rite", settings=step.StepConfig(clip=clip))
        theta = jax.tree.map(lambda leaf: leaf + 0.1, run.first.theta)
        first = run.first._replace(theta=theta)
        ends.append(run.step(first, run.net.params, run.batch(0))[0])
    assert small.same(ends[0].theta, ends[1].theta)
    # Adam undoes a scaling, but not below its epsilon.
    assert not small.same(ends[0].head, ends[1].head)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("loraplus", {"ratio": 0.0}, "ratio is 0.0"),
        ("pissa", {"svd": "fast"}, "svd is 'fast'; allowed are"),
        ("pissa", {"svd_iterations": -1}, "svd_iterations is -1"),
        ("plora", {"damping": 0.0}, "damping is 0.0"),
        ("plora", {"sweep": "red"}, "sweep is 'red'"),
        ("plora", {"epsilon": -1.0}, "epsilon is -1.0"),
        ("rite", {"skip_above": -1.0}, "skip_above is -1.0"),
        ("rite", {"unmagnified_clip": -1.0}, "unmagnified_clip is -1.0"),
        ("dora", {"rank": 0}, "rank is 0"),
    ],
)
def test_settings_outside_their_range_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        MethodConfig(name, **options)


def test_what_a_method_cannot_do_is_refused():
    with pytest.raises(ValueError, match="optimiser is 'sgd'; method 'rite' allows only 'adamw'"):
        built("rite", SGD)
    with pytest.raises(ValueError, match=r"rank is 4; .*the smaller side of fc"):
        built("pissa").prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)


def test_scaled_gradient_descent_has_no_moments():
    method = built("plora", SGD, rank=2, damping=1e-2)
    theta, result = (random_pairs(["fc"], s, dtype=np.float32) for s in (0, 1))
    assert jax.tree.leaves(method.tx.init(theta)) == []
    a, b = theta["fc"]["a"], theta["fc"]["b"]
    inner = np.linalg.inv(np.asarray(b @ b.T, float) + 1e-2 * np.eye(2))
    expected = a - 0.02 * result["fc"]["a"] @ inner
    np.testing.assert_allclose(steps(method, theta, [result])["fc"]["a"], expected, rtol=1e-4)


def test_bias_correction_makes_the_first_step_of_plora_one_rate_long():
    theta, result = (random_pairs(["fc"], s, dtype=np.float32) for s in (0, 1))
    sizes = []
    for corrected in (False, True):
        method = built("plora", rank=2, bias_correction=corrected, epsilon=1e-12)
        moved = steps(method, theta, [result])["fc"]["a"] - theta["fc"]["a"]
        sizes.append(float(jnp.abs(moved).mean()))
    np.testing.assert_allclose(sizes, [0.02 * 0.1 / 0.001**0.5, 0.02], rtol=1e-3)
