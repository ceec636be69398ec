"""The official trajectory, growth within the budget, reserves and ages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors, gated
from finetune.methods import MethodConfig, make
from finetune.methods.increlora import IncreloraConfig
from finetune.optimiser import OptimiserConfig
from tests.finetune.methods import golden


def played(dtype, **options):
    trace = golden.Trace("increlora")
    c = trace.config
    settings = {
        "rank": c["r_max"],
        "budget": c["target_total_rank"],
        "add": c["add"],
        "grow": c["top_h"],
        "every": c["interval"],
        "t_init": c["init_warmup"],
        "alpha": c["alpha"],
        "orthogonality": c["orth_coef"],
        "beta": c["beta1"],
        "restart": False,
    }
    method = golden.method(trace, "increlora", **(settings | options))
    theta, aux = method.prepare(jax.random.key(0), trace.kernels(dtype), None)
    if theta["0"]["a"].shape[1] == c["r_max"]:
        a, b = trace.leaves("A", dtype), trace.leaves("B", dtype)
        theta = {path: {**theta[path], "a": a[path], "b": b[path]} for path in theta}
    return trace, method, *golden.replay(trace, method, theta, aux, dtype)


def entries(states, name):
    return np.array([[aux[path][name] for path in sorted(aux)] for _, aux in states])


def existing(states):
    return np.arange(8) < entries(states, "width")[..., None]


def test_the_official_trajectory_in_float64():
    with jax.enable_x64(True):
        trace, _, states, records = played(jnp.float64)
        raw = np.array([[r["raw"][p] for p in trace.paths] for r in records])
        root = [np.sqrt(trace[f"W_{path}"].size) for path in trace.paths]
        growing = ~np.isnan(trace["raw_score"])
        result = {
            "loss": golden.stacked(records, "loss"),
            "orth": golden.stacked(records, "penalty"),
            "grad_norm": golden.stacked(records, "norm"),
            "ema_ipt": entries(states, "sensitivity"),
            "ema_unc": entries(states, "variability"),
            "d": np.where(existing(states), golden.by_module(states, "d"), np.nan),
            "raw_score": np.where(growing, raw / root, np.nan),
        }
        deltas = [
            {p: factors.delta(*gated.plain(theta[p], aux[p])) for p in trace.paths}
            for theta, aux in (states[t] for t in trace["snap_steps"])
        ]
    assert np.array_equal(entries(states, "rank"), trace["ranks"])
    assert np.array_equal(entries(states, "width"), trace["n_components"])
    assert not np.any(raw[~growing]), "scores are taken after growth has ended"
    for name, values in result.items():
        np.testing.assert_allclose(values, trace[name], rtol=1e-10, atol=1e-10, err_msg=name)
    for path in trace.paths:
        expected = trace[f"delta_w_snap_{path}"]
        np.testing.assert_allclose([delta[path] for delta in deltas], expected, atol=1e-10)
        made = existing(states)[-1][int(path)]
        for name, leaf in (("A_final", "a"), ("B_final", "b")):
            last = np.where(made if leaf == "a" else made[:, None], states[-1][0][path][leaf], 0)
            np.testing.assert_allclose(last, trace[f"{name}_{path}"], atol=1e-10)


@pytest.mark.thorough  # float32 is that of all tests of the pitfalls
def test_the_official_ranks_and_losses_in_float32():
    trace, _, states, records = played(jnp.float32)
    np.testing.assert_allclose(golden.stacked(records, "loss"), trace["loss"], atol=1e-5)
    assert np.array_equal(entries(states, "rank"), trace["ranks"])


@pytest.mark.thorough  # row 4 of the pitfalls
def test_the_fixed_scale_is_that_of_the_mean_final_rank():
    _, _, states, _ = played(jnp.float32, rank=4, budget=6, rescale=False)
    scale = entries(states, "scale")
    np.testing.assert_allclose(scale, 16 / (2 + 1e-5), rtol=1e-6)
    assert entries(states, "rank")[-1].sum() == 6


def test_what_is_not_said_is_chosen_for_the_run():
    config = IncreloraConfig().growth(modules=72, total=1000)
    assert (config.budget, config.grow, config.every, config.t_init) == (144, 8, 60, 60)
    assert IncreloraConfig(rank=1).growth(3, 10).budget == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": 1}, "budget is 1; allowed are integers from 2 to 16"),
        ({"rank": 8, "budget": 16, "add": 2}, "budget is 16; allowed are integers from 2 to 14"),
        ({"budget": 90}, "budget is 90 of 2 modules, .*; allowed in 12 steps are at most 12"),
        ({"every": 6}, "every is 6 and t_init 6 with 2 growths of 1 modules; allowed is what ends"),
        ({"normalise": "no"}, "normalise is 'no'; allowed are 'root', 'size'"),
        ({"add": 0}, "add is 0"),
        ({"beta": 1.0}, "beta is 1.0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        method = make(MethodConfig("increlora", **options), OptimiserConfig(), 12)
        method.prepare(jax.random.key(0), {"x": jnp.ones((2, 2)), "y": jnp.ones((2, 2))}, None)
