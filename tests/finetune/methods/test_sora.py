"""The official thresholds and trajectory, the proximal map, and the schedule."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune.methods import MethodConfig
from finetune.methods.sora import SoraConfig, shrunk
from tests.finetune.methods import golden


def old_adamw(c):
    """The optimiser of the recorded run: epsilon beside the uncorrected moment, decay after the
    step, none for gates."""
    (one, two), lr = c["betas"], c["lr"]

    def init(theta):
        return jnp.zeros((), jnp.int32), *(jax.tree.map(jnp.zeros_like, theta) for _ in "mv")

    def update(gradients, state, theta, **_):
        count, m, v = state
        count = count + 1
        m = jax.tree.map(lambda m, g: one * m + (1 - one) * g, m, gradients)
        v = jax.tree.map(lambda v, g: two * v + (1 - two) * g**2, v, gradients)
        size = lr * jnp.sqrt(1 - two ** count.astype(float)) / (1 - one ** count.astype(float))
        new = jax.tree.map(
            lambda p, m, v: p - size.astype(p.dtype) * m / (jnp.sqrt(v) + c["eps"]), theta, m, v
        )
        decay = {"a": c["weight_decay_ab"], "b": c["weight_decay_ab"], "d": c["weight_decay_gate"]}
        new = {
            p: {n: x * (1 - lr * decay[n]) for n, x in leaves.items()} for p, leaves in new.items()
        }
        return jax.tree.map(jnp.subtract, new, theta), (count, m, v)

    return optax.GradientTransformationExtraArgs(init, update)


def played(dtype, own=False):
    trace = golden.Trace("sora")
    c = trace.config
    method = golden.method(
        trace,
        "sora",
        rank=c["rank"],
        alpha=c["alpha"],
        sparsity=c["eta"],
        threshold=c["xi"],
        shrinkage="code",
    )
    theta, aux = method.prepare(jax.random.key(0), trace.kernels(dtype), None)
    given = {n: trace.leaves(name, dtype) for n, name in (("a", "A"), ("b", "B"), ("d", "g_init"))}
    theta = {path: {n: leaf[path] for n, leaf in given.items()} for path in theta}
    update = None if own else old_adamw(c)
    return trace, *golden.replay(trace, method, theta, aux, dtype, update)


def test_the_official_trajectory_in_float64():
    with jax.enable_x64(True):
        trace, states, records = played(jnp.float64)
        result = {
            "loss": golden.stacked(records, "loss"),
            "l1": golden.stacked(records, "penalty"),
            "grad_norm": golden.stacked(records, "norm"),
            "g": golden.by_module(states, "d"),
        }
    for name, values in result.items():
        np.testing.assert_allclose(values, trace[name], rtol=1e-10, atol=1e-10, err_msg=name)
    assert np.array_equal(result["g"] != 0, trace["g"] != 0)
    for path in trace.paths:
        for name, leaf in (("A", "a"), ("B", "b")):
            expected = trace[f"{name}_snap_{path}"]
            at = [states[step][0][path][leaf] for step in trace["snap_steps"]]
            np.testing.assert_allclose(at, expected, atol=1e-10)


@pytest.mark.thorough  # the recorded optimiser is replayed in float64 above
@pytest.mark.parametrize("own", [False, True])
def test_the_official_gates_and_losses_in_float32(own):
    trace, states, records = played(jnp.float32, own)
    # Our optimiser decays the factors before the step, and adds epsilon elsewhere.
    tolerance = 2e-3 if own else 1e-5
    np.testing.assert_allclose(golden.stacked(records, "loss"), trace["loss"], atol=tolerance)
    assert np.array_equal(golden.by_module(states, "d") != 0, trace["g"] != 0)


def test_both_thresholds_are_the_official_and_the_published_one():
    trace = golden.Trace("sora")
    xi = trace.config["threshold_lambda"]
    with jax.enable_x64(True):
        given = jnp.asarray(trace["threshold_in"])
        code, prox = (np.asarray(shrunk(given, xi, name)) for name in ("code", "proximal"))
    np.testing.assert_array_equal(code, trace["threshold_out_code"])
    np.testing.assert_array_equal(prox, trace["threshold_out_prox"])


def test_gates_are_not_decayed():
    trace = golden.Trace("sora")
    run = golden.Exact(golden.OptimiserConfig(weight_decay=0.5), 10)
    method = golden.METHODS["sora"].build(MethodConfig("sora", rank=3).settings, run)

    @jax.jit
    def first(kernels):
        theta, _ = method.prepare(jax.random.key(0), kernels, None)
        zero = jax.tree.map(jnp.zeros_like, theta)
        return method.tx.update(zero, method.tx.init(theta), theta, step=jnp.asarray(0))[0]

    updates = first(trace.kernels(np.float32))
    assert not np.any(updates["0"]["d"]) and np.all(updates["0"]["a"] != 0)


def test_the_threshold_rises():
    config = SoraConfig(threshold=7e-4, rises=7)
    result = jax.jit(lambda t: config.thresholds(t, 140))(jnp.arange(140)).tolist()
    values, counts = np.unique(np.round(result, 9), return_counts=True)
    np.testing.assert_allclose(values, np.linspace(0, 7e-4, 7), atol=1e-8)
    assert counts.tolist() == [50, 15, 15, 15, 15, 15, 15] and np.all(np.diff(result) >= 0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": -1.0}, "threshold is -1.0"),
        ({"sparsity": -1.0}, "sparsity is -1.0"),
        ({"shrinkage": "soft"}, "shrinkage is 'soft'; allowed are 'proximal', 'code'"),
        ({"rises": 0}, "rises is 0"),
        ({"first": 1.0}, r"first is 1.0; allowed are numbers in \(0, 1\)"),
    ],
)
def test_settings_outside_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig("sora", **options)
