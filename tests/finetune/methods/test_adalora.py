"""The official trajectory, the options, and what pruning guarantees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig
from finetune.ranks import importance, schedule
from tests.finetune.methods import golden


def played(dtype):
    trace = golden.Trace("adalora")
    c = trace.config
    method = golden.method(
        trace,
        "adalora",
        rank=c["init_rank"],
        budget=c["n_modules"] * c["target_rank"],
        alpha=c["alpha"],
        orthogonality=c["orth_coef"],
        beta=c["beta1"],
        t_init=c["t_init"],
        t_final=c["t_final"],
        delta_t=c["delta_t"],
    )
    theta, aux = method.prepare(jax.random.key(0), trace.kernels(dtype), None)
    a, b = trace.leaves("A", dtype), trace.leaves("B", dtype)
    theta = {path: {**theta[path], "a": a[path], "b": b[path]} for path in theta}
    return trace, method, *golden.replay(trace, method, theta, aux, dtype)


def test_the_official_trajectory_in_float64():
    with jax.enable_x64(True):
        trace, method, states, records = played(jnp.float64)
        result = {
            "loss": golden.stacked(records, "loss"),
            "orth": golden.stacked(records, "penalty"),
            "grad_norm": golden.stacked(records, "norm"),
            "d": golden.by_module(states, "d"),
            "d_before_mask": golden.by_module([(r["before"], None) for r in records], "d"),
            "score": np.array([importance.components(aux) for _, aux in states]),
        }
        ranks = [list(map(int, method.ranks(*state).values())) for state in states]
    for name, values in result.items():
        np.testing.assert_allclose(values, trace[name], rtol=1e-10, atol=1e-10, err_msg=name)
    assert np.array_equal(result["d"] != 0, trace["mask"])
    assert np.array_equal(ranks, trace["mask"].sum(axis=2))
    for path in trace.paths:
        for name, leaf in (("A", "a"), ("B", "b")):
            for number, step in enumerate(trace["snap_steps"]):
                np.testing.assert_allclose(
                    states[step][0][path][leaf], trace[f"{name}_snap_{path}"][number], atol=1e-10
                )


@pytest.mark.thorough  # float32 is that of all tests of the pitfalls
def test_the_official_masks_and_losses_in_float32():
    trace, _, states, records = played(jnp.float32)
    np.testing.assert_allclose(golden.stacked(records, "loss"), trace["loss"], atol=1e-5)
    assert np.array_equal(golden.by_module(states, "d") != 0, trace["mask"])


def test_the_budget_of_every_step_is_the_official_one():
    trace = golden.Trace("adalora")
    c = trace.config
    phases = schedule.Phases(trace.steps, c["t_init"], c["t_final"], c["delta_t"])
    assert schedule.cubic("code", phases, 18, 6).tolist() == trace["budget"].tolist()
    due = schedule.due(phases, np.arange(trace.steps))
    assert np.array_equal(due, trace["mask_event"])


@pytest.mark.parametrize("form", schedule.FORMS)
@pytest.mark.parametrize(("t_init", "t_final"), [(0, 2), (3, 5), (0, 11)])
def test_the_budget_falls_to_the_target(form, t_init, t_final):
    result = schedule.cubic(form, schedule.Phases(12, t_init, t_final, 1), 8, 3)
    assert np.all(np.diff(result) <= 0) and result[-1] == 3 and result.max() <= 8
    assert result[: t_init + (form == "code")].tolist() == [8] * (t_init + (form == "code"))


@pytest.mark.thorough  # row 8 of the pitfalls, over a run
def test_the_papers_importance_is_that_of_the_parameters_before_the_update():
    both = []
    for which in ("after", "before"):
        config = MethodConfig("adalora", rank=2, importance=which)
        method = make(config, OptimiserConfig(name="sgd", learning_rate=0.5, warmup=0), 12)
        trace = golden.Trace("adalora")
        theta, aux = method.prepare(jax.random.key(0), trace.kernels(jnp.float32), None)
        states, _ = golden.replay(trace, method, theta, aux, jnp.float32)
        both.append((theta, states))
    (start, after), (_, before) = both
    # Neither d nor its importance is anything before the first update.
    assert np.any(after[0][1]["0"]["sensitivity_d"])
    assert not np.any(before[0][1]["0"]["sensitivity_d"])
    a = start["0"]["a"]
    np.testing.assert_array_equal(before[0][1]["0"]["before_a"], after[0][0]["0"]["a"])
    assert np.any(a != after[0][0]["0"]["a"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": 7}, "budget is 7; allowed are integers from 1 to 6"),
        ({"t_init": 6, "t_final": 6}, "t_init is 6 and t_final 6; allowed is a sum below the 12"),
        ({"t_final": 1}, "t_final is 1; allowed are integers >= 2"),
        ({"beta": 1.0}, "beta is 1.0"),
        ({"penalty": "none"}, "penalty is 'none'"),
        ({"orthogonality": -1.0}, "orthogonality is -1.0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        method = make(MethodConfig("adalora", rank=3, **options), OptimiserConfig(), 12)
        method.prepare(jax.random.key(0), {"x": jnp.ones((2, 2)), "y": jnp.ones((2, 2))}, None)
