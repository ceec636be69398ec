"""Growth by the decrease of the loss: what the score is, and that noise alone adds no component."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import levels
from finetune.adapters.method import Objective, Run
from finetune.methods import MethodConfig
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.methods.sequential import SequentialConfig, sequential
from finetune.optimiser import OptimiserConfig
from finetune.ranks import scores
from finetune.training.step import adapted
from tests.finetune.methods import linear

ADAM = OptimiserConfig(learning_rate=0.03, schedule="constant", warmup=0, clip=0)
TRUE, SIZE, TOTAL = {"one": 3, "two": 1}, 6, 400
GIVEN = {"rank": 4, "score": "decrease", "phase": "joint", "std": 0.3}


def trained(method, seed, true):
    """aux after a run on layers whose targets have these ranks, with new rows in each step."""
    kernels = {path: jnp.zeros((SIZE, SIZE)) for path in true}
    generator = np.random.default_rng(seed)
    frames = [np.linalg.qr(generator.normal(size=(SIZE, SIZE)))[0] for _ in range(2 * len(true))]
    change = {
        path: jnp.asarray(2 * frames[2 * i][:, :rank] @ frames[2 * i + 1][:rank], jnp.float32)
        for i, (path, rank) in enumerate(true.items())
    }
    theta, aux = method.prepare(jax.random.key(seed), kernels, None)

    def step(state, number):
        of_x, of_noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), number))
        x = jax.random.normal(of_x, (16, SIZE))
        noise = jax.random.normal(of_noise, (len(true), 16, SIZE))

        def loss(theta, aux, head, other=None):
            ops = adapted(method, theta, aux, other)
            parts = zip(true, noise, strict=True)
            return sum(
                jnp.mean((ops.linear(p, x, kernels[p]) - x @ change[p] - extra) ** 2)
                for p, extra in parts
            )

        return linear.advance(method, Objective(loss, lambda: kernels), state, number), None

    run = jax.jit(lambda state: jax.lax.scan(step, state, jnp.arange(TOTAL, dtype=jnp.int32))[0])
    return run((theta, aux, method.tx.init(theta)))[1]


@functools.cache
def ranks(seed, **options):
    """The ranks that AdaPaD ends with on layers of the ranks TRUE."""
    aux = trained(adapad(AdapadConfig(**GIVEN | options), Run(ADAM, TOTAL)), seed, TRUE)
    assert all(int(entry["private"]) == 0 for entry in aux.values())
    return {path: int(entry["rank"]) for path, entry in aux.items()}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.thorough)])
def test_growth_stops_at_the_true_ranks_and_not_before(seed):
    assert ranks(seed, significance=0.05) == TRUE


def test_control_without_the_criterion_noise_is_fitted_too():
    # The budget that the criterion has by default, which it left unspent.
    assert ranks(0, budget=8) == {"one": 4, "two": 4}


@pytest.mark.thorough  # the score without the criterion: test_study.py's contenders
def test_a_budget_goes_where_the_loss_falls():
    assert ranks(0, budget=4) == TRUE


@pytest.mark.parametrize(
    ("true", "level", "expected"),
    [
        (2, 0.05, 2),
        (2, None, 4),  # the control: noise is fitted too
        pytest.param(4, 0.05, 4, marks=pytest.mark.thorough),
        pytest.param(0, 0.05, 0, marks=pytest.mark.thorough),
    ],
)
def test_sequential_components_end_where_the_loss_does_not_fall(true, level, expected):
    optimiser = dataclasses.replace(ADAM, schedule="linear")
    config = SequentialConfig(4, std=0.3, significance=level)
    aux = trained(sequential(config, Run(optimiser, TOTAL)), 0, {"one": true})["one"]
    assert int(aux["rank"]) == expected
    assert aux["gain"].tolist() == [1.0] * expected + [0.0] * (4 - expected)


def test_the_decrease_is_the_slope_by_the_private_components_gain():
    x, made, y = linear.chain_data(dtype=np.float32)
    method = adapad(AdapadConfig(3, score="decrease", scale=2.0), Run(ADAM, 40))
    target = linear.chain(method, x, made, y)
    theta, aux = method.prepare(jax.random.key(0), made, None)
    theta, head = linear.trained(theta, aux), {"bias": jnp.zeros(linear.OUT)}
    info = linear.grads(method, target, theta, aux, head).info
    assert bool(info["due"])

    def gained(size):
        entry = {**aux["one"], "gain": jnp.asarray([2.0, size, 0.0])}
        return float(target.loss(theta, {**aux, "one": entry}, head))

    # s times the slope, by a symmetric difference of 1% of the scale.
    slope = (gained(0.02) - gained(-0.02)) / 0.04
    assert float(info["raw"]["one"]) == pytest.approx(-2 * slope, rel=1e-2)


@pytest.mark.parametrize("phase", ["parallel", "split"])
def test_scores_of_other_phases_are_those_of_the_deployed_network(phase):
    x, made, y = linear.chain_data(dtype=np.float32)
    head, raws = {"bias": jnp.zeros(linear.OUT)}, []
    for own in (phase, "joint"):
        method = adapad(AdapadConfig(3, score="decrease", phase=own), Run(ADAM, 40))
        target = linear.chain(method, x, made, y)
        theta, aux = method.prepare(jax.random.key(0), made, None)
        raws.append(linear.grads(method, target, linear.trained(theta, aux), aux, head).info["raw"])
    for path in made:
        np.testing.assert_allclose(raws[0][path], raws[1][path], rtol=1e-5)


def entry(mean, variance):
    return {"sensitivity": jnp.asarray(mean), "variability": jnp.asarray(variance)}


def test_few_components_of_pure_noise_pass():
    """Of 50 modules without any decrease, 400 times: at the level 0.05 some passes rarely."""
    beta, noise = 0.85, jax.random.normal(jax.random.key(1), (100, 400, 50))

    def passed(noise):
        aux = {"all": entry(jnp.zeros(noise.shape[1:]), jnp.ones(noise.shape[1:]))}

        def one(aux, raw):
            return scores.averaged(aux, {"all": raw}, beta, jnp.asarray(True), jnp.square), None

        aux, _ = jax.lax.scan(one, aux, noise)
        flat = {str(i): entry(*(aux["all"][n][:, i] for n in aux["all"])) for i in range(50)}
        return jax.vmap(lambda own: scores.significant(own, beta, 0.05))(flat)

    share = float(jnp.mean(jnp.any(jax.jit(passed)(noise), axis=1)))
    # Below the level: a large value raises its average and the spread around it together.
    assert 0 < share <= 0.05, share


def test_published_components_leave_their_averages_behind():
    config = AdapadConfig(3, budget=3, every=5, grow=1, score="decrease", phase="joint")
    growth = config.growth(2, 40)
    theta = {p: {"a": jnp.ones((4, 3)), "b": jnp.ones((3, 4))} for p in TRUE}
    aux = {p: {**e, **entry(2.0, 1.0)} for p, e in levels.initial(theta, 1.0, 1, 1).items()}
    aux["two"] |= entry(3.0, 9.0)  # the larger decrease, though the more uncertain one
    after = growth.grown(aux, jnp.asarray(4))
    assert [int(e["rank"]) for e in after.values()] == [1, 2]
    assert [float(e["sensitivity"]) for e in after.values()] == [2.0, 0.0]
    before = growth.grown(aux, jnp.asarray(3))
    assert [int(e["rank"]) for e in before.values()] == [1, 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"significance": 0.0}, "significance is 0.0; allowed are numbers between 0 and 1"),
        ({"beta": 0.0}, "beta is 0 with significance 0.05; allowed is more than 0"),
        ({"score": "effective"}, "with score 'effective'; allowed is 'decrease'"),
        ({"advance": False}, "score is 'decrease' with advance False; allowed is advance True"),
    ],
)
def test_criteria_that_cannot_be_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        AdapadConfig(**{"score": "decrease", "significance": 0.05} | options)


def test_the_rank_auto_is_the_test_at_its_usual_level():
    assert AdapadConfig(rank="auto") == AdapadConfig(significance=0.05)
    assert AdapadConfig(rank="auto", significance=0.2).significance == 0.2
    assert SequentialConfig(rank="auto") == SequentialConfig(significance=0.05)
    assert SequentialConfig(rank="auto", path=(1, 3)).steps(40) == (10, 30)
    assert MethodConfig("adapad", rank="auto").settings == AdapadConfig(rank="auto")
    with pytest.raises(ValueError, match="rank is 'auto'; allowed are integers >= 1"):
        MethodConfig("lora", rank="auto")


def test_a_budget_that_nothing_limits_is_all_that_fits():
    config = AdapadConfig(score="decrease", significance=0.05).resolved(modules=72, total=1000)
    assert (config.budget, config.grow, config.every, config.score_every) == (288, 72, 200, 1)
    own = AdapadConfig(phase="split", head_loss="own").resolved(modules=3, total=100)
    assert (own.score, own.score_every) == ("decrease", 5)
