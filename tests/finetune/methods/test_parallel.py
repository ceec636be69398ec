"""Parallel deflation in a network: against the solvers, one worker, batched and on devices."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from deflation import Components, Regression, gradient_descent
from deflation import start as start_solver
from deflation import step as solver_step
from finetune.adapters import levels
from finetune.adapters.by_component import by_component
from finetune.adapters.method import Run
from finetune.methods.parallel import ParallelConfig, parallel
from finetune.methods.sequential import SequentialConfig, path_steps, sequential
from finetune.optimiser import OptimiserConfig, by_rate, direction, rate
from tests.finetune.methods import linear

SGD = OptimiserConfig(name="sgd", learning_rate=0.01, schedule="constant", warmup=0, clip=0)
ADAM = OptimiserConfig(learning_rate=0.01, clip=0.5)


def close(left, right, tolerance):
    for x, y in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("advance", "staggered", "staleness"),
    [
        (False, True, 0),
        (False, True, 2),
        *(pytest.param(True, one, 0, marks=pytest.mark.thorough) for one in (True, False)),
        pytest.param(False, False, 0, marks=pytest.mark.thorough),
        *(pytest.param(one, one, 1, marks=pytest.mark.thorough) for one in (True, False)),
    ],
)
def test_on_a_linear_layer_it_is_the_solver_step_by_step(wide, staggered, advance, staleness):
    x, kernel, y = linear.data()
    # A power of two: the network's rates are float32, the solver's step is float64.
    rank, size, steps = 3, 2.0**-8, 25
    problem = Regression.from_data(x.T, (y - x @ kernel).T)
    solver = gradient_descent(size, coordinates="original")
    # Components that are given to the solver are published at once; drawn ones are not.
    generator = np.random.default_rng(1)
    given = Components(
        jnp.asarray(generator.normal(size=(rank, linear.OUT))), jnp.zeros((rank, linear.IN))
    )
    state = start_solver(
        problem,
        rank,
        solver,
        staggered=staggered,
        advance=advance,
        staleness=staleness,
        init="random" if staggered else given,
    )
    first = problem.to_original(state.progress.factors)

    config = ParallelConfig(rank, stagger=int(staggered), advance=advance, staleness=staleness)
    sgd = dataclasses.replace(SGD, learning_rate=size)
    method = parallel(config, Run(sgd, steps))
    kernels = {"fc": jnp.asarray(kernel)}
    theta, aux = method.prepare(jax.random.key(0), kernels, None)
    theta = {"fc": {"a": first.a.T, "b": first.b}}
    aux = config.begun(theta, aux)
    target = linear.objective(method, x, kernels, y)
    ours = (theta, aux, method.tx.init(theta))

    one = jax.jit(lambda state, step: linear.advance(method, target, state, step))
    solver_one = jax.jit(solver_step)
    original = jax.jit(lambda factors: problem.to_original(factors))
    for step in range(steps):
        state, ours = solver_one(state), one(ours, step)
        reference = original(state.progress.factors)
        np.testing.assert_allclose(ours[0]["fc"]["a"].T, reference.a, atol=1e-12)
        np.testing.assert_allclose(ours[0]["fc"]["b"], reference.b, atol=1e-12)
    assert np.linalg.norm(reference.a, axis=1).min() > 1e-3


@pytest.mark.thorough  # as above
def test_sequential_is_parallel_restricted_to_one_active_worker(wide):
    x, kernels, y = linear.chain_data()
    steps = (7, 4, 5)
    total = sum(steps)
    ends = jnp.cumsum(jnp.array(steps))
    alone = sequential(SequentialConfig(path=steps), Run(ADAM, total))

    def working(step):
        return jnp.arange(3) == jnp.minimum(jnp.sum(step >= ends), 2)

    def schedule(step):
        k = jnp.argmax(working(step))
        return rate(ADAM, step - (ends - jnp.array(steps))[k], jnp.array(steps)[k])

    every_worker = parallel(ParallelConfig(3, std=0.01, stagger=0), Run(ADAM, total))

    def grads(objective, theta, aux, head, step, key):
        whole = every_worker.grads(objective, theta, aux, head, step, key)
        active = {path: on & working(step) for path, on in whole.info["active"].items()}
        return whole._replace(info={**whole.info, "active": active})

    tx = optax.chain(by_component(direction(ADAM)), by_rate(schedule))
    together = dataclasses.replace(every_worker, grads=grads, tx=tx)
    head = {"bias": jnp.zeros(linear.OUT)}
    theta, aux = alone.prepare(jax.random.key(3), kernels, None)
    other, other_aux = together.prepare(jax.random.key(3), kernels, None)
    assert all(np.array_equal(theta[p]["a"], other[p]["a"]) for p in theta)

    def run(method, theta, aux):
        target = linear.chain(method, x, kernels, y)
        target = target._replace(loss=lambda t, a, h, k=None, f=target.loss: f(t, a, head, k))
        state = (theta, aux, method.tx.init(theta))
        one = jax.jit(lambda state, step: linear.advance(method, target, state, step))
        for step in range(total):
            state = one(state, step)
        return state

    ours, reference = run(alone, theta, aux), run(together, other, other_aux)
    close(ours[0], reference[0], 1e-13)
    assert np.abs(ours[0]["one"]["b"]).max() > 1e-3


@functools.cache
def level_problem():
    x, kernels, y = linear.chain_data()
    method = parallel(ParallelConfig(3, stagger=0), Run(SGD, 100, None))
    theta, aux = method.prepare(jax.random.key(0), kernels, None)
    theta = linear.trained(theta, aux)
    # Ranks that differ, so that some levels have no component of their own in a module.
    aux["two"]["rank"] = jnp.asarray(1, jnp.int32)
    aux["two"]["private"] = jnp.asarray(1, jnp.int32)
    aux["two"]["gain"] = levels.published(aux["two"])
    head = {"bias": jnp.full(linear.OUT, 0.1)}
    return method, linear.chain(method, x, kernels, y), theta, aux, head, (x, kernels, y)


@functools.cache
def every(norm, **options):
    _, target, theta, aux, head, _ = level_problem()

    def losses(theta, aux, head):
        return levels.every(levels.Snapshot(target, theta, aux, head), norm, **options)

    return jax.jit(losses)(theta, aux, head)


@pytest.mark.thorough  # the solver's steps above
def test_levels_are_the_losses_written_out(wide):
    _, _, theta, _, head, (x, kernels, y) = level_problem()
    result = every(0.0)

    def network(own, k):
        kernel = dict(kernels)
        for path, limit in (("one", 3), ("two", 1)):
            for j in range(min(k, limit)):
                kernel[path] += jnp.outer(theta[path]["a"][:, j], theta[path]["b"][j])
            if k < limit + (path == "two"):
                kernel[path] += jnp.outer(*own[path])
        return jnp.mean((jnp.tanh(x @ kernel["one"]) @ kernel["two"] + head["bias"] - y) ** 2)

    for k in range(3):
        own = {path: (theta[path]["a"][:, k], theta[path]["b"][k]) for path in theta}
        value, slopes = jax.jit(jax.value_and_grad(network), static_argnums=1)(own, k)
        np.testing.assert_allclose(result.loss[k], value, rtol=1e-12)
        for path, (a, b) in slopes.items():
            np.testing.assert_allclose(result.theta[path]["a"][:, k], a, atol=1e-13)
            np.testing.assert_allclose(result.theta[path]["b"][k], b, atol=1e-13)
    assert not np.any(result.theta["two"]["b"][2])


def test_in_turn_batched_and_on_devices_agree(wide):
    mesh = jax.make_mesh((2,), ("level",), axis_types=(jax.sharding.AxisType.Auto,))
    turns, batched, dealt = every(1e-3), every(1e-3, way="batched"), every(1e-3, mesh=mesh)
    close(turns, batched, 1e-13)
    close(turns, dealt, 1e-13)


def test_on_devices_there_is_one_all_gather_and_nothing_else():
    x, kernels, y = linear.chain_data(dtype=np.float32)
    mesh = jax.make_mesh((4,), ("level",), axis_types=(jax.sharding.AxisType.Auto,))
    method = parallel(ParallelConfig(6), Run(SGD, 100, mesh))
    theta, aux = method.prepare(jax.random.key(0), kernels, None)
    target = linear.chain(method, x, kernels, y)
    head = {"bias": jnp.zeros(linear.OUT)}
    step = jnp.zeros((), jnp.int32)

    def gradients(theta, aux, head):
        return method.grads(target, theta, aux, head, step, None)

    text = jax.jit(gradients).lower(theta, aux, head).compile().as_text()
    assert text.count(" all-gather(") + text.count(" all-gather-start(") == 1
    for other in ("all-reduce", "all-to-all", "collective-permute", "reduce-scatter"):
        assert f" {other}(" not in text


def test_every_worker_is_clipped_on_its_own(wide):
    whole, cut = every(0.0), every(1e-3)
    for k in range(3):
        one, other = (
            jax.tree.leaves([[f["a"][:, k], f["b"][k]] for f in result.theta.values()])
            for result in (whole, cut)
        )
        size = optax.tree.norm(one)
        close([leaf * min(1.0, 1e-3 / float(size)) for leaf in one], other, 1e-15)


def test_the_head_is_trained_on_the_deployed_network(wide):
    method, target, theta, aux, head, _ = level_problem()
    result = linear.grads(method, target, theta, aux, head)
    deployed = jax.jit(jax.value_and_grad(lambda head: target.loss(theta, aux, head)))
    value, slope = deployed(head)
    np.testing.assert_allclose(result.head["bias"], slope["bias"], rtol=1e-12)
    np.testing.assert_allclose(result.loss, value, rtol=1e-12)


def test_workers_join_one_after_the_other():
    config = ParallelConfig(3, stagger=2)
    assert [int(config.published(step)) for step in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert int(ParallelConfig(3, stagger=0).published(0)) == 3


@pytest.mark.thorough  # the solver's steps above
def test_a_frozen_component_does_not_move():
    x, kernels, y = linear.chain_data(dtype=np.float32)
    method = sequential(SequentialConfig(path=(3, 3)), Run(ADAM, 6))
    target = linear.chain(method, x, kernels, y)
    zero = {"bias": jnp.zeros(linear.OUT)}
    target = target._replace(loss=lambda t, a, h, k=None, f=target.loss: f(t, a, zero, k))
    theta, aux = method.prepare(jax.random.key(0), kernels, None)
    state = (theta, aux, method.tx.init(theta))
    advance = jax.jit(lambda state, step: linear.advance(method, target, state, step))
    for step in range(3):
        state = advance(state, step)
    first = state[0]["one"]["b"][0]
    assert (
        int(state[1]["one"]["rank"]) == 2 and np.any(first) and not np.any(state[0]["one"]["b"][1])
    )
    for step in range(3, 6):
        state = advance(state, step)
    assert np.array_equal(state[0]["one"]["b"][0], first) and np.any(state[0]["one"]["b"][1])
    ages = state[2][0]["one"][0].count
    assert ages.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("path", "total", "steps"),
    [
        ((1, 3, 5), 90, (10, 30, 50)),
        ((1, 1, 1), 4, (1, 2, 1)),
        ((1, 100), 3, (1, 2)),
        ((9, 1e-3), 5, (4, 1)),
    ],
)
def test_steps_of_a_path(path, total, steps):
    assert path_steps(path, total) == steps


def test_a_path_needs_a_step_per_component():
    with pytest.raises(ValueError, match="steps is 2; allowed are integers >= 3"):
        path_steps((1, 3, 5), 2)
