"""One guard for each known way to get adaptive ranks wrong, by its row in the list of pitfalls."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors, gated
from finetune.adapters.method import Info, Run
from finetune.methods import MethodConfig
from finetune.methods.sora import shrunk
from finetune.optimiser import OptimiserConfig
from finetune.ranks import importance, orthonormal, schedule, scores
from finetune.ranks.component_ages import restarted
from finetune.training.step import StepConfig
from tests.finetune.methods import golden
from tests.finetune.training import small

GROWING = {"rank": 4, "budget": 6, "every": 2, "t_init": 0}


@functools.cache
def run(name, steps=12, settings=None, options=small.OPTIMISER, **chosen):
    config = MethodConfig(name, **chosen)
    return small.Run(config, steps=steps, settings=settings, options=options)


def ranks(one, state):
    return [int(rank) for rank in one.method.ranks(state.theta, state.aux).values()]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adalora", {"rank": 3, "budget": 3}),
        pytest.param("increlora", GROWING, marks=pytest.mark.thorough),
    ],
)
def test_row_01_the_allocator_is_part_of_the_compiled_step_and_the_budget_is_reached(name, options):
    one = run(name, **options)
    states = one.states()
    assert one.traces == 1
    assert sum(ranks(one, states[-1])) == options["budget"]
    assert sum(ranks(one, states[0])) != options["budget"]


def test_row_02_a_step_that_never_happens_is_not_waited_for():
    phases = schedule.Phases(total=12, t_init=1, t_final=4, delta_t=5)
    due = [bool(schedule.due(phases, step)) for step in range(12)]
    assert [step for step in range(12) if due[step]] == [5, 9, 10, 11]
    one = run("adalora", rank=3, budget=3, t_init=1, t_final=4, delta_t=5)
    late = one.first._replace(step=jnp.asarray(10, jnp.int32))  # 8, the border, is skipped
    late = one.step(late, one.net.params, one.batch(0))[0]
    assert sum(ranks(one, late)) <= 3
    one = run("increlora", **GROWING)
    state = one.first._replace(step=jnp.asarray(5, jnp.int32))  # 0, where the reserve begins
    for number in range(7):
        state = one.step(state, one.net.params, one.batch(number))[0]
    assert [int(entry["width"]) for entry in state.aux.values()] == [
        min(rank + 1, 4) for rank in ranks(one, state)
    ]


def test_row_03_masked_values_come_back_and_reserves_have_moments_of_their_own():
    trace = golden.Trace("adalora")
    assert np.any(np.diff(trace["mask"].astype(int), axis=0) > 0), "the reference never revives"
    one = run("increlora", **GROWING)
    states = one.states()
    for before, after in itertools.pairwise(states):
        for path, entry in before.aux.items():
            rank, width = int(entry["rank"]), int(entry["width"])
            old, new = before.theta[path], after.theta[path]
            assert np.array_equal(old["a"][:, width:], new["a"][:, width:]), "not created yet"
            reserve = np.asarray(new["d"][int(after.aux[path]["rank"]) :])
            assert np.all((reserve == 0) | (reserve == np.float32(1e-5)))
            if rank < width and int(before.step):
                assert np.any(old["a"][:, rank] != new["a"][:, rank]), "advance learning"
    last = states[-1].aux["fc1"]
    first = [
        next((t for t, s in enumerate(states) if int(s.aux["fc1"][end]) > k), len(states))
        for end in ("width", "rank")
        for k in range(4)
    ]
    born = np.minimum(np.array(first), 12).reshape(2, 4)
    # Trained in every step from the one after its creation, or after it became live.
    assert last["age/factors"].tolist() == (12 - born[0]).tolist()
    assert last["age/gain"].tolist() == (12 - born[1]).tolist()


@pytest.mark.parametrize("rescale", [pytest.param(True, marks=pytest.mark.thorough), False])
def test_row_04_the_scale_is_stored_per_module_and_continuous_if_fixed(rescale):
    one = run("increlora", **GROWING, **({} if rescale else {"rescale": False}))
    states = one.states()
    grown = next(t for t in range(12) if ranks(one, states[t]) != ranks(one, states[t + 1]))
    state, result = states[grown], states[grown + 1]
    path = next(p for p in state.aux if int(state.aux[p]["rank"]) != int(result.aux[p]["rank"]))
    # The same theta with the allocation before and after growth.
    before = factors.delta(*gated.plain(result.theta[path], state.aux[path]))
    after = factors.delta(*gated.plain(result.theta[path], result.aux[path]))
    ratio = float(jnp.linalg.norm(after) / jnp.linalg.norm(before))
    np.testing.assert_allclose(ratio, 0.5 if rescale else 1.0, rtol=1e-4)
    if not rescale:  # that of the mean final rank
        scales = [float(entry["scale"]) for state in states for entry in state.aux.values()]
        np.testing.assert_allclose(scales, 16 / (GROWING["budget"] / 2 + 1e-5), rtol=1e-6)
    exported = one.method.export(one.kernels[path], result.theta[path], result.aux[path])
    np.testing.assert_allclose(exported.a @ exported.b, after, atol=1e-5)


def test_row_05_ties_and_a_budget_of_all_mask_as_many_as_they_should():
    theta = {
        path: {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2)), "d": jnp.ones(3)} for path in "pq"
    }
    masked = jax.jit(importance.masked)
    for score in (np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32)):
        for budget in range(7):
            kept = masked(theta, score, budget)
            d = np.concatenate([kept["p"]["d"], kept["q"]["d"]])
            assert d.tolist() == [1.0] * budget + [0.0] * (6 - budget)
    # The first rank may be the last: nothing is masked.
    one = run("adalora", rank=2, budget=4)
    assert ranks(one, one.states()[-1]) == [2, 2]
    tied = scores.largest(jnp.zeros(5), jnp.ones(5, bool), 2)
    assert tied.tolist() == [True, True, False, False, False]


@pytest.mark.thorough  # row 1
def test_row_06_growth_never_jumps_over_its_budget_and_still_ends():
    one = run("increlora", rank=7, budget=9, add=2, grow=2, every=1, t_init=0)
    states = one.states()
    totals = [sum(ranks(one, state)) for state in states]
    assert max(totals) == totals[-1] == 8, "7 are left after the first, of which 2 x 2 + 2 fit"
    for leaves, entry in zip(states[-1].theta.values(), states[-1].aux.values(), strict=True):
        assert not np.any(leaves["d"][int(entry["rank"]) :]), "a reserve is left in the network"
    frozen = [state.aux["fc1"]["sensitivity"] for state in states[-4:]]
    assert len({float(value) for value in frozen}) == 1, "scores are still taken"


def test_row_07_the_penalty_is_the_mean_of_norms_with_reserves_or_the_sum_of_squares():
    generator = np.random.default_rng(0)
    theta = {
        path: {
            "a": generator.normal(size=(5, 3)).astype(np.float32),
            "b": generator.normal(size=(3, 4)).astype(np.float32),
        }
        for path in "pq"
    }
    existing = {"p": np.array([True, True, False]), "q": np.array([True, False, False])}
    penalty = jax.jit(orthonormal.penalty, static_argnums=2)
    for keep in (None, existing):
        norms = []
        for path, leaves in theta.items():
            count = 3 if keep is None else int(keep[path].sum())
            a, b = np.asarray(leaves["a"])[:, :count], np.asarray(leaves["b"])[:count]
            norms += [np.linalg.norm(g - np.eye(count)) for g in (a.T @ a, b @ b.T)]
        result = [float(penalty(theta, 0.3, form, keep)) for form in orthonormal.FORMS]
        expected = [0.3 * np.mean(norms), 0.3 * np.sum(np.square(norms))]
        np.testing.assert_allclose(result, expected, rtol=1e-5)
    one = run("increlora", **GROWING)
    state = one.states(2)[-1]
    slope = jax.jit(jax.grad(one.method.regulariser))(state.theta, state.aux)["fc1"]["a"]
    assert np.any(slope[:, 1]) and not np.any(slope[:, 2:]), "the reserve is part of it, no more"


def test_row_07_the_penalty_of_orthonormal_factors_has_a_gradient():
    theta = {"fc": {"a": jnp.eye(3, 1), "b": jnp.eye(1, 4)}}
    for form in orthonormal.FORMS:
        penalty = functools.partial(orthonormal.penalty, weight=1.0, form=form)
        slope = jax.jit(jax.grad(penalty))(theta)
        assert not np.any(slope["fc"]["a"]) and np.all(np.isfinite(slope["fc"]["a"]))


@pytest.mark.parametrize("which", ["after", "before"])
def test_row_08_adaloras_importance_is_of_the_gradients_that_post_is_given(which):
    trace = golden.Trace("adalora")
    method = golden.method(trace, "adalora", importance=which)
    theta, aux = method.prepare(jax.random.key(0), trace.kernels(jnp.float32), None)
    theta = jax.device_get(theta)
    moved = jax.tree.map(lambda leaf: leaf + np.float32(0.5), theta)
    gradients = jax.tree.map(lambda leaf: np.full_like(leaf, 2.0), theta)

    @jax.jit
    def post(moved, aux, gradients):
        info = Info(jnp.asarray(0, jnp.int32), jax.random.key(0), gradients, {})
        return method.post(moved, aux, None, info)

    _, new, _ = post(moved, aux, gradients)
    used = moved if which == "after" else theta
    for name in "abd":
        expected = 0.15 * np.abs(used["0"][name] * 2.0)
        np.testing.assert_allclose(new["0"][f"sensitivity_{name}"], expected, rtol=1e-5)


def test_row_08_increloras_score_is_of_the_unclipped_gradient_of_the_loss_alone():
    result = []
    for clip, weight in ((0.0, 0.0), (1e-4, 5.0)):
        one = run("increlora", settings=StepConfig(clip), orthogonality=weight, **GROWING)
        leaves = {p: {**x, "d": x["d"].at[0].set(0.5)} for p, x in one.first.theta.items()}
        state = one.step(one.first._replace(theta=leaves), one.net.params, one.batch(0))[0]
        result.append([float(entry["sensitivity"]) for entry in state.aux.values()])
    assert min(result[0]) > 0
    np.testing.assert_allclose(result[0], result[1], rtol=1e-6)


@pytest.mark.thorough  # training/test_step.py adds parts up
def test_row_09_parts_of_a_batch():
    # AdaLoRA sees the accumulated gradient, so the parts do not matter.
    sgd = OptimiserConfig(name="sgd", learning_rate=0.1, schedule="constant", warmup=0)
    result = []
    for parts in (1, 4):
        one = run("adalora", settings=StepConfig(1.0, parts), options=sgd, rank=3, budget=3)
        result.append(one.states(6)[-1])
    for x, y in zip(*(jax.tree.leaves((s.theta, s.aux)) for s in result), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
    # IncreLoRA's score is the mean of those of the parts, at least that of the whole.
    totals = []
    for parts in (1, 4):
        one = run("increlora", settings=StepConfig(0.0, parts), orthogonality=0.0, **GROWING)
        leaves = {p: {**x, "d": x["d"].at[0].set(0.5)} for p, x in one.first.theta.items()}
        state = one.step(one.first._replace(theta=leaves), one.net.params, one.batch(0))[0]
        totals.append(np.array([float(entry["sensitivity"]) for entry in state.aux.values()]))
    assert np.all(totals[1] > totals[0] * 1.001)


def test_row_17_the_proximal_map_is_continuous_and_the_code_is_not():
    g = jnp.linspace(-3, 3, 6001)
    jumps = {
        name: float(jnp.abs(jnp.diff(shrunk(g, 1.0, name))).max()) for name in ("proximal", "code")
    }
    assert jumps["proximal"] < 1.1e-3 and jumps["code"] > 0.99
    # The minimum of 1/2 (z - g)^2 + xi |z|, found by trying.
    z = np.linspace(-3, 3, 60001)
    for value in (-2.5, -1.0, -0.3, 0.0, 0.999, 1.7):
        best = z[np.argmin((z - value) ** 2 / 2 + np.abs(z))]
        np.testing.assert_allclose(shrunk(jnp.asarray(value), 1.0, "proximal"), best, atol=1e-4)


def test_row_17_a_closed_gate_is_not_pushed_by_its_own_penalty():
    one = run("sora", rank=3)
    closed = {p: {**x, "d": jnp.zeros_like(x["d"])} for p, x in one.first.theta.items()}
    slope = jax.jit(jax.grad(one.method.regulariser))(closed, one.first.aux)
    assert not any(np.any(leaves["d"]) for leaves in slope.values())


@pytest.mark.parametrize("restart", [True, False])
def test_row_20_a_new_component_has_a_rate_of_its_own(restart):
    options = OptimiserConfig(name="sgd", learning_rate=1.0, warmup=4)
    one = run("increlora", options=options, restart=restart, **GROWING)
    tx, theta = one.method.tx, one.first.theta
    ages = {f"{p}/{part}": jnp.array([6, 2, 0, 0]) for p in theta for part in ("factors", "gain")}
    on = {key: jnp.array([True, True, True, False]) for key in ages}
    ones = jax.tree.map(jnp.ones_like, theta)
    update = jax.jit(lambda opt: tx.update(ones, opt, theta, step=6, active=on, age=ages)[0])
    updates = update(tx.init(theta))
    rates = -np.asarray(updates["fc1"]["d"])
    np.testing.assert_allclose(rates, [0.75, 0.75, 0.25, 0] if restart else [0.75] * 3 + [0])
    np.testing.assert_allclose(updates["fc1"]["a"], -np.tile(rates, (6, 1)))
    run_ = Run(options, 12)
    last = [float(restarted(run_, jnp.asarray(t), jnp.asarray(t - 5))) for t in range(5, 12)]
    assert last[:4] == [0.25, 0.5, 0.75, 1.0] and last[-1] == pytest.approx(1 / 3)
