"""What goes wrong in other implementations of methods on pairs, one test for each hazard."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors
from finetune.adapters.method import Run
from finetune.methods import MethodConfig, make
from finetune.methods.registry import METHODS
from finetune.optimiser import OptimiserConfig
from finetune.optimisers.small_matrices import damped_inverse, inverse_root
from finetune.training import adapter_files, step
from tests.finetune.methods import linear
from tests.finetune.training import small

RATE = OptimiserConfig(learning_rate=0.02, schedule="constant", warmup=0)
SGD = dataclasses.replace(RATE, name="sgd")


def same(x):
    return x


def built(name, options=RATE, **settings):
    return make(MethodConfig(name, **settings), options, 100)


def random_pairs(paths, seed=0, rank=2, shape=(6, 5), dtype=np.float64):
    """path -> random a and b; of the same sizes, so that a swap would go unnoticed."""
    generator = np.random.default_rng(seed)
    return {
        path: {
            "a": jnp.asarray(generator.normal(size=(shape[0], rank)), dtype),
            "b": jnp.asarray(generator.normal(size=(rank, shape[1])), dtype),
        }
        for path in paths
    }


def steps(method, theta, gradients):
    """theta after a step on each of the gradients."""
    opt, update = method.tx.init(theta), jax.jit(method.tx.update)
    for t, found in enumerate(gradients):
        updates, opt = update(found, opt, theta, step=jnp.asarray(t, jnp.int32))
        theta = jax.tree.map(jnp.add, theta, updates)
    return theta


@pytest.mark.parametrize("name", ["plora", "rite"])
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
        backwards = [dict(reversed(found.items())) for found in gradients]
        again = steps(method, dict(reversed(theta.items())), backwards)
        for path in paths:
            own = steps(method, {path: theta[path]}, [{path: g[path]} for g in gradients])
            for leaf in "ab":
                np.testing.assert_allclose(together[path][leaf], own[path][leaf], rtol=1e-12)
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


def test_row_12_pissa_keeps_the_base_and_what_was_subtracted():
    run = small.Run(MethodConfig("pissa", rank=2))
    before = {name: np.array(leaf) for name, leaf in run.net.params.items()}
    plain = small.Run("lora")
    batch = run.batch(0)
    logits = [
        one.predict(one.first.theta, one.first.aux, one.first.head, one.net.params, batch)
        for one in (run, plain)
    ]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-6)
    last = run.states()[-1]
    assert all(np.array_equal(before[name], leaf) for name, leaf in run.net.params.items())
    for path, kernel in run.kernels.items():
        theta, aux = last.theta[path], last.aux[path]
        first = run.first.theta[path]
        # The start is in the state, which is what a resumed run reads.
        assert small.same((aux["a0"], aux["b0"]), (first["a"], first["b"]))
        change = run.method.export(kernel, theta, aux)
        assert change.a.shape[1] == 4
        wanted = 8.0 * (theta["a"] @ theta["b"] - first["a"] @ first["b"])
        np.testing.assert_allclose(change.a @ change.b, wanted, atol=1e-5)
        assert np.abs(wanted).max() > 0.1
    adapter = adapter_files.exported(run.method, last, run.kernels, {})
    trained = sum(leaf.size for leaf in jax.tree.leaves(last.theta))
    assert adapter_files.trained(adapter, last.theta) == trained == adapter.parameters // 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("svd", ["exact", "randomised"])
def test_row_13_the_offset_is_that_of_the_stored_factors(dtype, svd):
    """Bitwise no change at the start, whatever the activations, the kernel and the SVD."""
    method = built("pissa", rank=3, svd=svd)
    for kind in (jnp.float32, jnp.bfloat16):
        kernel = jax.random.normal(jax.random.key(0), (7, 6)).astype(kind)
        theta, aux = method.prepare(jax.random.key(1), {"fc": kernel}, None)
        assert {leaf.dtype.name for leaf in jax.tree.leaves((theta, aux))} == {"float32"}
        x = jax.random.normal(jax.random.key(2), (4, 7)).astype(dtype)
        apply = jax.jit(lambda x, k, t, a: method.apply(x, k, t, a, lambda x: x))
        y = apply(x, kernel, theta["fc"], aux["fc"])
        assert y.dtype == dtype
        assert np.array_equal(y, jax.jit(factors.matmul)(x, kernel))
        ids = jnp.array([0, 3])
        assert np.array_equal(method.lookup(ids, kernel, theta["fc"], aux["fc"]), kernel[ids])
        first = method.export(kernel, theta["fc"], aux["fc"])
        assert np.abs(first.a @ first.b).max() < 1e-5


@pytest.mark.parametrize("damping", [1e-6, 1.0])
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


@pytest.mark.parametrize("name", ["plora", "rite"])
@pytest.mark.parametrize("rank", [2, 7])
def test_row_16_factors_and_gradients_without_full_rank_stay_finite(name, rank):
    """Components that are copies of one another or zero, and ranks above the kernel's own."""
    method = built(name, rank=rank)
    theta = random_pairs(["fc", "other"], rank=rank, dtype=np.float32)
    theta["fc"] = {"a": theta["fc"]["a"][:, :1] * jnp.ones(rank), "b": theta["fc"]["b"] * 0}
    theta["other"]["b"] = theta["other"]["b"][:1] * jnp.ones((rank, 1)) * 30
    gradients = [random_pairs(theta, s, rank=rank, dtype=np.float32) for s in range(6)]
    gradients[3] = jax.tree.map(jnp.zeros_like, gradients[3])
    last = steps(method, theta, gradients)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last))


def change(theta):
    return {path: leaves["a"] @ leaves["b"] for path, leaves in theta.items()}


def trajectory(method, theta, aux, x, kernels, y, count=40):
    """a b of every module after each step."""
    target = linear.chain(method, x, kernels, y)
    head = {"bias": jnp.zeros(y.shape[1])}
    opt = method.tx.init(theta)

    @jax.jit
    def one(theta, opt, t):
        found = jax.grad(lambda theta: target.loss(theta, aux, head))(theta)
        updates, opt = method.tx.update(found, opt, theta, step=t)
        return jax.tree.map(jnp.add, theta, updates), opt

    found = [change(theta)]
    for t in range(count):
        theta, opt = one(theta, opt, jnp.asarray(t, jnp.int32))
        found.append(change(theta))
    return found


def apart(left, right):
    """The largest difference over a trajectory."""
    return max(
        float(jnp.abs(x - y).max())
        for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


@pytest.mark.parametrize("name", ["rite", "lora"])
@pytest.mark.parametrize("zero", [False, True])
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
        one, two = (trajectory(method, start, aux, x, kernels, y) for start in (theta, other))
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
    theta, found = (random_pairs(["fc"], s, dtype=np.float32) for s in (0, 1))
    assert jax.tree.leaves(method.tx.init(theta)) == []
    a, b = theta["fc"]["a"], theta["fc"]["b"]
    inner = np.linalg.inv(np.asarray(b @ b.T, float) + 1e-2 * np.eye(2))
    wanted = a - 0.02 * found["fc"]["a"] @ inner
    np.testing.assert_allclose(steps(method, theta, [found])["fc"]["a"], wanted, rtol=1e-4)


def test_bias_correction_makes_the_first_step_of_plora_one_rate_long():
    theta, found = (random_pairs(["fc"], s, dtype=np.float32) for s in (0, 1))
    sizes = []
    for corrected in (False, True):
        method = built("plora", rank=2, bias_correction=corrected, epsilon=1e-12)
        moved = steps(method, theta, [found])["fc"]["a"] - theta["fc"]["a"]
        sizes.append(float(jnp.abs(moved).mean()))
    np.testing.assert_allclose(sizes, [0.02 * 0.1 / 0.001**0.5, 0.02], rtol=1e-3)


def test_the_randomised_svd_finds_the_leading_part():
    kernel = jax.random.normal(jax.random.key(0), (60, 40)) * 0.8 ** jnp.arange(40)
    parts = []
    for svd in ("exact", "randomised"):
        theta, _ = built("pissa", rank=3, svd=svd).prepare(jax.random.key(1), {"f": kernel}, None)
        parts.append(theta["f"])
    for name in "ab":
        np.testing.assert_allclose(parts[0][name], parts[1][name], atol=1e-3)


def test_dropout_of_dora_acts_on_all_that_is_added():
    """The formula of PEFT's layer: (m/n - 1) (drop(x) W) + (m/n) s (drop(x) a) b, added to x W."""
    with jax.enable_x64(True):
        method = built("dora", rank=2, alpha=6.0)
        kernel = jax.random.normal(jax.random.key(0), (5, 4), jnp.float64)
        theta, aux = method.prepare(jax.random.key(1), {"fc": kernel}, None)
        theta, aux = theta["fc"], aux["fc"]
        theta["b"] = jax.random.normal(jax.random.key(2), (2, 4), jnp.float64)
        theta["magnitude"] = theta["magnitude"] * 1.5
        x = jax.random.normal(jax.random.key(3), (3, 5), jnp.float64)
        thin = x * (jax.random.uniform(jax.random.key(4), x.shape) < 0.5) * 2
        y = method.apply(x, kernel, theta, aux, lambda x: thin)
        low = 3.0 * theta["a"] @ theta["b"]
        f = theta["magnitude"] / jnp.linalg.norm(kernel + low, axis=0)
        wanted = x @ kernel + (f - 1) * (thin @ kernel) + f * (thin @ low)
        np.testing.assert_allclose(y, wanted, rtol=1e-12)
        whole = method.apply(x, kernel, theta, aux, lambda x: x)
        np.testing.assert_allclose(whole, x @ (f * (kernel + low)), rtol=1e-10)
        ids = jnp.array([1, 1, 4])
        rows = method.lookup(ids, kernel, theta, aux)
        np.testing.assert_allclose(rows, (f * (kernel + low))[ids], rtol=1e-10)


def test_dora_starts_bitwise_unchanged():
    run = small.Run("dora")
    for path, kernel in run.kernels.items():
        x = jax.random.normal(jax.random.key(0), (4, kernel.shape[0]))
        theta, aux = run.first.theta[path], run.first.aux[path]
        y = jax.jit(lambda *args: run.method.apply(*args, same))(x, kernel, theta, aux)
        assert np.array_equal(y, jax.jit(factors.matmul)(x, kernel))
