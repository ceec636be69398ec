"""Methods on pairs of factors against recorded runs of their published implementations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.methods import MethodConfig
from finetune.methods.registry import METHODS
from tests.finetune.methods import traces

thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)
# In the precision in which a mistake shows; float32 is asked of some.
DTYPES = [("float64", 1e-11), thorough("float32", 1e-5)]


def build(name, run, **options):
    config = MethodConfig(name, **options)
    return METHODS[name].build(config.settings, run)


def start(method, arrays, dtype):
    """The method's own aux for the kernels of the trace."""
    return method.prepare(jax.random.key(0), traces.kernels(arrays, dtype), None)


def one_pass(method, theta, aux, arrays, dtype):
    """Loss, gradients and output at the recorded values."""
    target, outputs = traces.objective(method, arrays, dtype)

    def both(theta, aux):
        return *jax.value_and_grad(target.loss)(theta, aux, {}), outputs(theta, aux)

    return jax.jit(both)(theta, aux)


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("name", ["lora", "rslora"])
def test_forward_and_gradients_are_those_of_peft(name, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read(name)
        method = build(name, traces.run(), rank=config.rank, alpha=float(config.alpha))
        _, aux = start(method, arrays, dtype)
        theta = traces.pairs(arrays, dtype)
        loss, result, output = one_pass(method, theta, aux, arrays, dtype)
        assert np.abs(output - arrays["output"]).max() < tolerance
        assert abs(loss - arrays["loss"]) < tolerance
        assert traces.largest(result, traces.pairs(arrays, dtype, prefix="g")) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_loraplus_takes_the_steps_of_peft(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read("loraplus")
        run = traces.run(config.lr, weight_decay=config.weight_decay)
        options = {"rank": config.rank, "alpha": float(config.alpha), "ratio": config.lr_ratio}
        method = build("loraplus", run, **options)
        _, aux = start(method, arrays, dtype)
        replay(method, aux, arrays, dtype, config.steps, tolerance)


def replay(method, aux, arrays, dtype, steps, tolerance):
    """The run of a trace from its first values, with gradients of our own network."""
    theta = traces.pairs(arrays, dtype, 0)
    opt = method.tx.init(theta)

    @jax.jit
    def step(theta, opt, x, y, t):
        target, _ = traces.objective(method, {**arrays, "x": x, "y": y}, dtype)
        loss, result = jax.value_and_grad(target.loss)(theta, aux, {})
        updates, opt = method.tx.update(result, opt, theta, step=t)
        return jax.tree.map(jnp.add, theta, updates), opt, loss

    worst = 0.0
    for t in range(steps):
        batch = (jnp.asarray(arrays[n][t], dtype) for n in "xy")
        theta, opt, loss = step(theta, opt, *batch, jnp.asarray(t, jnp.int32))
        assert abs(loss - arrays["loss"][t]) < tolerance * max(1, arrays["loss"][t]), t
        worst = max(worst, traces.largest(theta, traces.pairs(arrays, dtype, t + 1)))
    print(f"largest difference {worst:.1e}")
    assert worst < tolerance


@pytest.mark.parametrize("svd", [pytest.param("exact", marks=pytest.mark.thorough), "randomised"])
def test_pissa_starts_where_peft_does(svd):
    config, arrays = traces.read("pissa")
    options = {"rank": config.rank, "alpha": float(config.alpha), "svd": svd}
    method = build("pissa", traces.run(), **options)
    theta, aux = start(method, arrays, "float32")
    for i, path in enumerate(traces.PATHS):
        a, b = theta[path]["a"], theta[path]["b"]
        assert np.abs(a @ b - arrays[f"AB_{i}"]).max() < 1e-5
        residual = arrays[f"W_{i}"] - config.scale_value * a @ b
        assert np.abs(residual - arrays[f"W_residual_{i}"]).max() < 1e-5
        sign = np.sign(np.sum(a * arrays[f"A_{i}"], axis=0))
        assert np.abs(a * sign - arrays[f"A_{i}"]).max() < 1e-5
        assert np.abs(b * sign[:, None] - arrays[f"B_{i}"]).max() < 1e-5
        largest = np.abs(a).argmax(axis=0)
        assert np.all(np.take_along_axis(np.asarray(a), largest[None], 0) > 0)
    _, _, output = one_pass(method, theta, aux, arrays, "float32")
    assert np.abs(output - arrays["output"]).max() < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), thorough("float32", 1e-5)])
def test_pissa_has_the_gradients_of_peft(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read("pissa")
        options = {"rank": config.rank, "alpha": float(config.alpha)}
        method = build("pissa", traces.run(), **options)
        theta = traces.pairs(arrays, dtype)
        _, aux = start(method, arrays, dtype)
        # PEFT rounds its residual to float32; the offset of ours is that of the recorded factors.
        aux = {
            path: {**entry, "a0": theta[path]["a"], "b0": theta[path]["b"]}
            for path, entry in aux.items()
        }
        arrays = dict(arrays)
        for i, path in enumerate(traces.PATHS):
            low = config.scale_value * theta[path]["a"] @ theta[path]["b"]
            arrays[f"W_{i}"] = arrays[f"W_residual_{i}"] + np.asarray(low)
        loss, result, output = one_pass(method, theta, aux, arrays, dtype)
        assert np.abs(output - arrays["output"]).max() < tolerance
        assert abs(loss - arrays["loss"]) < tolerance
        assert traces.largest(result, traces.pairs(arrays, dtype, prefix="g")) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
def test_dora_is_that_of_peft(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read("dora")
        method = build("dora", traces.run(), rank=config.rank, alpha=float(config.alpha))
        first, aux = start(method, arrays, dtype)
        theta, expected = traces.pairs(arrays, dtype), traces.pairs(arrays, dtype, prefix="g")
        for i, path in enumerate(traces.PATHS):
            assert np.abs(first[path]["magnitude"] - arrays[f"m_init_{i}"]).max() < tolerance
            theta[path]["magnitude"] = jnp.asarray(arrays[f"m_{i}"], dtype)
            expected[path]["magnitude"] = jnp.asarray(arrays[f"gm_{i}"], dtype)
        loss, result, output = one_pass(method, theta, aux, arrays, dtype)
        assert np.abs(output - arrays["output"]).max() < tolerance
        assert abs(loss - arrays["loss"]) < tolerance
        assert traces.largest(result, expected) < tolerance
        for i, path in enumerate(traces.PATHS):
            unit = jnp.eye(arrays[f"W_{i}"].shape[0], dtype=dtype)
            kernel = jnp.asarray(arrays[f"W_{i}"], dtype)
            apply = jax.jit(lambda *arrays: method.apply(*arrays, lambda x: x))
            whole = apply(unit, kernel, theta[path], aux[path])
            assert np.abs(whole - arrays[f"effective_{i}"]).max() < tolerance


OPTIMISERS = [
    ("plora", "p_lora", "float64", 1e-11),
    ("rite", "lora_rite_b_random", "float64", 1e-11),
    ("rite", "lora_rite_b_zero", "float64", 1e-11),
    thorough("rite", "lora_rite_b_random", "float32", 1e-5),
    # From b = 0 the inverted matrices are ill-conditioned for a while. Errors of 1e-6 in the first
    # steps are float32's (a plain LU inverse has the same), and 40 steps make them ten times that.
    thorough("plora", "p_lora", "float32", 1e-4),
    thorough("rite", "lora_rite_b_zero", "float32", 3e-4),
]


def optimiser(name, config, **options):
    """The method with a scale of one."""
    run = traces.run(config.lr, beta1=config.betas[0], beta2=config.betas[1])
    rank, epsilon = config.rank, config.eps
    return build(name, run, rank=rank, alpha=float(rank), epsilon=epsilon, **options)


def own_options(name, config):
    if name == "plora":
        return {"damping": config.reg, "sweep": config.order.replace("-", "_")}
    return {
        "skip_above": config.update_skipping,
        "unmagnified_clip": config.clip_unmagnified_grad,
    }


@pytest.mark.parametrize(("name", "trace", "dtype", "tolerance"), OPTIMISERS)
def test_trajectories_are_the_official_ones(name, trace, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read(trace)
        method = optimiser(name, config, **own_options(name, config))
        _, aux = start(method, arrays, dtype)
        replay(method, aux, arrays, dtype, config.steps, tolerance)


@pytest.mark.parametrize(("name", "trace", "dtype", "tolerance"), OPTIMISERS)
def test_steps_from_recorded_gradients(name, trace, dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        config, arrays = traces.read(trace)
        method = optimiser(name, config, **own_options(name, config))
        theta = traces.pairs(arrays, dtype, 0)
        opt = method.tx.init(theta)
        update = jax.jit(method.tx.update)
        for t in range(config.steps):
            gradients = traces.pairs(arrays, dtype, t, prefix="g")
            updates, opt = update(gradients, opt, theta, step=jnp.asarray(t, jnp.int32))
            theta = jax.tree.map(jnp.add, theta, updates)
            limit = tolerance if t >= 4 else min(tolerance, 1e-5)
            assert traces.largest(theta, traces.pairs(arrays, dtype, t + 1)) < limit, t


def test_the_other_sweep_of_plora_is_another_method():
    with jax.enable_x64(True):
        config, arrays = traces.read("p_lora")
        method = optimiser("plora", config, damping=config.reg, sweep="jacobi")
        _, aux = start(method, arrays, "float64")
        with pytest.raises(AssertionError):
            replay(method, aux, arrays, "float64", config.steps, 1e-3)
