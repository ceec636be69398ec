"""Growth within a budget, in private before; scores; phases."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import factors, levels
from finetune.adapters.method import Run
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.optimiser import OptimiserConfig
from finetune.ranks import scores
from tests.finetune.methods import linear

ADAM = OptimiserConfig(learning_rate=0.01, schedule="constant", warmup=0, clip=0)
HEAD = {"bias": jnp.zeros(linear.OUT)}


def problem(config, total=40):
    x, made, y = linear.chain_data(dtype=np.float32)
    method = adapad(config, Run(ADAM, total))
    target = linear.chain(method, x, made, y)
    target = target._replace(loss=lambda t, a, h, k=None, f=target.loss: f(t, a, HEAD, k))
    theta, aux = method.prepare(jax.random.key(0), made, None)
    return method, target, (theta, aux, method.tx.init(theta))


def run(config, total=40):
    method, target, state = problem(config, total)
    traces = []

    def train(state, step):
        traces.append(1)
        return linear.advance(method, target, state, step)

    train, result = jax.jit(train), [state]
    for step in range(total):
        result.append(train(result[-1], jnp.asarray(step, jnp.int32)))
    assert len(traces) == 1, "growth compiled the step again"
    return result


def ranks(state):
    return [int(entry["rank"]) for entry in state[1].values()]


@pytest.mark.parametrize(
    ("advance", "phase"),
    [
        *((True, "joint"), (False, "split")),
        pytest.param(True, "parallel", marks=pytest.mark.thorough),
        pytest.param(True, "split", marks=pytest.mark.thorough),
        pytest.param(False, "parallel", marks=pytest.mark.thorough),
        pytest.param(False, "joint", marks=pytest.mark.thorough),
    ],
)
def test_ranks_grow_to_the_budget_and_no_further(phase, advance):
    config = AdapadConfig(
        3, budget=5, phase=phase, advance=advance, every=5, cycle=2, score_every=2
    )
    states = run(config)
    totals = [sum(ranks(state)) for state in states]
    assert totals[0] == 2 and totals[-1] == 5 and max(totals) == 5
    assert np.all(np.diff(totals) >= 0)
    assert [step for step in range(1, 41) if totals[step] > totals[step - 1]] == [5, 10, 15]
    last = states[-1][1]
    assert all(int(entry["private"]) == 0 for entry in last.values())
    for path, entry in last.items():
        live = np.arange(3) < int(entry["rank"])
        assert np.array_equal(np.asarray(entry["gain"]) != 0, live)
        # What is published has learnt something, and nothing else is deployed.
        assert np.all(np.linalg.norm(states[-1][0][path]["b"], axis=1)[live] > 0)
    one = {
        path: jax.tree.map(lambda leaf: leaf.dtype, entry) for path, entry in states[0][1].items()
    }
    two = {path: jax.tree.map(lambda leaf: leaf.dtype, entry) for path, entry in last.items()}
    assert one == two


@pytest.mark.thorough  # levels: test_joint_sees below
def test_the_private_component_learns_and_is_seen_by_nobody():
    # One loss for all would let what has been published later into the first component's gradient.
    given = {"budget": 3, "every": 20, "score": "effective", "phase": "parallel"}
    with_it, without = run(AdapadConfig(3, **given)), run(AdapadConfig(3, **given, advance=False))
    b = with_it[-1][0]["one"]["b"]
    assert np.any(b[1]) and not np.any(b[2])
    assert not np.any(without[-1][0]["one"]["b"][1])
    for one, other in zip(with_it, without, strict=True):
        assert np.array_equal(one[0]["one"]["b"][0], other[0]["one"]["b"][0])
    exported = factors.export(None, with_it[-1][0]["one"], with_it[-1][1]["one"])
    assert exported.a.shape == (linear.IN, 1)


def test_a_new_component_starts_with_fresh_moments():
    states = run(AdapadConfig(3, budget=4, every=10, grow=1, advance=False), 30)
    grown = next(p for p in states[-1][1] if int(states[-1][1][p]["rank"]) > 1)
    ages = [state[2][0][grown][0].count.tolist() for state in states]
    assert ages[10][:2] in ([10, 0],) or ages[20][:2] == [20, 0]
    assert ages[30][1] in (10, 20) and ages[30][0] == 30


def test_joint_sees_the_successors_and_parallel_does_not():
    both = []
    for phase in ("joint", "parallel"):
        config = AdapadConfig(2, budget=4, phase=phase, advance=False)
        method, target, (theta, aux, _) = problem(config, total=200)
        aux = levels.with_rank(aux, jnp.asarray(2))
        both.append(linear.grads(method, target, linear.trained(theta, aux), aux, HEAD))
    joint, parallel = (result.theta["one"]["b"] for result in both)
    assert np.abs(joint[0] - parallel[0]).max() > 1e-3
    # The last level is the whole network.
    np.testing.assert_allclose(joint[1], parallel[1], atol=1e-5)


def test_private_components_train_in_every_third_step():
    config = AdapadConfig(2, budget=3, every=8, private_every=3)
    states = run(config, total=8)[:8]
    private = [np.asarray(theta["one"]["b"][1]) for theta, _, _ in states]
    moved = [bool((new != old).any()) for old, new in itertools.pairwise(private)]
    assert moved == [False, False, True, False, False, True, False]
    # Its moments are as old as the steps that it was trained.
    assert states[-1][2][0]["one"][0].count.tolist() == [7, 2]


def test_split_trains_one_level_at_a_time():
    config = AdapadConfig(2, budget=4, phase="split", cycle=3, every=100)
    method, target, state = problem(config, total=400)

    @jax.jit
    def active(step):
        return method.grads(target, *state[:2], {}, step, None).info["active"]["one"]

    trained = [active(jnp.asarray(step, jnp.int32)).tolist() for step in range(9)]
    first, second = [True, False], [False, True]
    assert trained == [first] * 3 + [second] * 3 + [first] * 3


@pytest.mark.thorough  # the head is trained in test_loop.py
@pytest.mark.parametrize(
    "score",
    [
        kind if kind == "effective" else pytest.param(kind, marks=pytest.mark.thorough)
        for kind in scores.KINDS
    ],
)
def test_the_head_from_the_levels_own_pass(score):
    given = {"budget": 4, "phase": "split", "cycle": 3, "every": 100, "score": score}
    result = []
    for head_loss in ("deployed", "own"):
        config = AdapadConfig(2, head_loss=head_loss, score_every=2, **given)
        method, target, (theta, aux, _) = problem(config, total=200)
        theta = jax.tree.map(lambda leaf: leaf + 0.1, theta)

        def loss(theta, aux, head, kernels=None, f=target.loss):
            return f(theta, aux, head, kernels) * (1 + jnp.sum(head["bias"]))

        target = target._replace(loss=loss)
        steps = (0, 3, 1)  # level 0, which is deployed; level 1, in private; a step that scores
        result.append([linear.grads(method, target, theta, aux, HEAD, step) for step in steps])
    for one, other in zip(*result, strict=True):
        for name in ("theta", "info"):
            pairs = zip(
                *map(jax.tree.leaves, (getattr(one, name), getattr(other, name))), strict=True
            )
            assert all(np.allclose(a, b, rtol=1e-5) for a, b in pairs)
        # The head's gradient is the loss, and belongs to the network whose loss it is.
        assert np.allclose(other.head["bias"], other.loss)
    private = [grads[1] for grads in result]
    assert np.allclose(result[0][0].loss, result[1][0].loss, rtol=1e-6)
    assert not np.allclose(private[0].loss, private[1].loss, rtol=1e-3)


def test_the_effective_score_is_that_of_the_dense_gradient():
    x, kernels, y = linear.chain_data(dtype=np.float32)
    config = AdapadConfig(3, score="effective", score_every=1)
    method, target, (theta, aux, _) = problem(config)
    theta, aux = (
        linear.trained(theta, aux),
        {**scores.initial(levels.with_rank(aux, jnp.asarray(2)))},
    )
    aux = {path: {**entry, "rank": jnp.asarray(1, jnp.int32)} for path, entry in aux.items()}
    aux = {path: {**entry, "gain": levels.published(entry)} for path, entry in aux.items()}
    result = linear.grads(method, target, theta, aux, HEAD).info

    def loss(changes):
        hidden = jnp.tanh(x @ (kernels["one"] + changes["one"]))
        return jnp.mean((hidden @ (kernels["two"] + changes["two"]) - y) ** 2)

    changes = {path: jnp.outer(t["a"][:, 0], t["b"][0]) for path, t in theta.items()}
    dense = jax.jit(jax.grad(loss))(changes)
    assert bool(result["due"])
    for path, change in changes.items():
        expected = jnp.sum(jnp.abs(change * dense[path])) / change.size**0.5
        np.testing.assert_allclose(result["raw"][path], expected, rtol=1e-4)


def test_scores_are_taken_only_when_due_and_averaged_over_as_many_steps():
    aux = {"fc": {"sensitivity": jnp.zeros(()), "variability": jnp.zeros(())}}
    often = rarely = aux
    for step in range(1, 41):
        often = scores.averaged(often, {"fc": jnp.ones(())}, 0.9, jnp.asarray(True))
        due = jnp.asarray(step % 5 == 0)
        rarely = scores.averaged(rarely, {"fc": jnp.ones(())}, 0.9**5, due)
    np.testing.assert_allclose(often["fc"]["sensitivity"], rarely["fc"]["sensitivity"], rtol=1e-5)
    # The deviation is measured from the average that has moved already.
    once = scores.averaged(aux, {"fc": jnp.ones(())}, 0.75, jnp.asarray(True))["fc"]
    assert float(once["sensitivity"]) == 0.25 and float(once["variability"]) == 0.1875


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=pytest.mark.thorough) if k == "factor" else k for k in scores.KINDS],
)
def test_every_score_can_steer_the_growth(kind):
    states = run(AdapadConfig(3, budget=5, every=5, score=kind, score_every=2))
    assert sum(ranks(states[-1])) == 5


def test_ties_do_not_grow_more_than_there_is_room():
    score = jnp.array([1.0, 1.0, 1.0, 2.0])
    eligible = jnp.array([True, True, True, False])
    for count in range(5):
        chosen = scores.largest(score, eligible, count)
        assert chosen.sum() == min(count, 3) and not chosen[3]
    assert scores.largest(score, eligible, 2).tolist() == [True, True, False, False]


def test_what_is_not_said_is_chosen_for_the_run():
    config = AdapadConfig().resolved(modules=72, total=1000)
    assert (config.budget, config.grow, config.every) == (144, 8, 66)
    assert AdapadConfig(rank=1).resolved(3, 10).budget == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"budget": 1}, "budget is 1; allowed are integers from 2 to 8"),
        ({"rank": 4, "budget": 9}, "budget is 9; allowed are integers from 2 to 8"),
        (
            {"budget": 900},
            "budget is 900 of 2 modules, 1 of .*; allowed in 100 steps are at most 102",
        ),
        ({"every": 90}, "every is 90 with 2 growths of 1 modules each; allowed are at most 100"),
    ],
)
def test_a_budget_that_cannot_be_met_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        AdapadConfig(**options).resolved(2, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"beta": 1.0},
        {"score": "reserve", "advance": False},
        {"phase": "both"},
        {"head_loss": "own"},
        {"head_loss": "both", "phase": "split"},
        {"rank": 0},
        {"cycle": 0},
        {"private_every": 0},
        {"private_every": 2, "phase": "split"},
    ],
)
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(ValueError, match="allowed"):
        AdapadConfig(**options)
