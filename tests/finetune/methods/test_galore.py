"""GaLore and AdaRankGrad: the released optimiser, the theorem, sizes, ranks and what is refused."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import projection
from finetune.adapters.method import Run
from finetune.methods import Dense, MethodConfig, make
from finetune.methods.galore import GaloreConfig, galore
from finetune.optimiser import OptimiserConfig
from finetune.training.step import StepConfig
from tests.finetune.methods import linear
from tests.finetune.training import small

TRACE = pathlib.Path(__file__).parents[1] / "data" / "methods" / "galore.npz"
SGD = OptimiserConfig(name="sgd", learning_rate=0.05, schedule="constant", warmup=0, clip=0)


class Exact(Run):
    """A constant rate in float64; that of a run is float32."""

    @property
    def rate(self):
        return lambda step: jnp.asarray(self.optimiser.learning_rate, jnp.float64)


@pytest.fixture(scope="module")
def trace():
    with np.load(TRACE) as arrays:
        arrays = dict(arrays)
    return arrays, json.loads(str(arrays.pop("config")))


def official(settings):
    one, two = settings["betas"]
    options = OptimiserConfig(
        learning_rate=settings["lr"],
        weight_decay=settings["weight_decay"],
        epsilon=settings["eps"],
        beta1=one,
        beta2=two,
    )
    config = GaloreConfig(
        rank=settings["rank"],
        gap=settings["update_proj_gap"],
        update_scale=settings["scale"],
        raw_epsilon=True,
    )
    return galore(config, Exact(options, settings["steps"]))


@pytest.mark.parametrize("number", [0, 1])
def test_the_released_optimiser(trace, number):
    """With its own bases to 1e-12 over the refresh too, with ours to 1e-5 in the basis."""
    arrays, settings = trace
    weights, gradients, bases = (arrays[f"{name}_{number}"] for name in "WGP")
    with jax.enable_x64(True):
        method = official(settings)
        update = jax.jit(method.tx.update)
        refreshes = arrays["refresh_steps"].tolist()
        base = {"fc": jnp.asarray(weights[0])}

        def run(gap_at, recorded):
            theta = method.prepare(None, base, None)[0]
            state, result = method.tx.init(theta), []
            for step, gradient in enumerate(gradients):
                result.append(weights[0] + np.asarray(theta["fc"]["delta"]))
                given = {"fc": {"delta": jnp.asarray(gradient)}}
                updates, new = update(given, state, theta, step=jnp.int32(step), base=base)
                if step in gap_at:
                    ours, reference = np.asarray(new["fc"]["basis"]), bases[gap_at.index(step)]
                    signs = np.sign((ours * reference).sum(axis=0))
                    np.testing.assert_allclose(ours * signs, reference, atol=1e-5)
                    largest = np.take_along_axis(ours, np.abs(ours).argmax(0)[None], 0)
                    assert (largest > 0).all()
                    if recorded:
                        # The same step once more, off the refresh, from the recorded basis; the
                        # step count is in Adam's correction, so the basis alone may be exchanged.
                        updates, new = replay(method, given, state, theta, step, reference, base)
                state = new
                theta = jax.tree.map(jnp.add, theta, updates)
            return np.stack([*result, weights[0] + np.asarray(theta["fc"]["delta"])])

        np.testing.assert_allclose(run(refreshes, True), weights, atol=1e-12)
        until = refreshes[1] + 1
        np.testing.assert_allclose(run(refreshes, False)[:until], weights[:until], atol=1e-5)


def replay(method, given, state, theta, step, basis, base):
    """An update with a basis in place of the refreshed one."""
    plain = projection.leading
    try:
        projection.leading = lambda gradient, rank: jnp.asarray(basis)
        return method.tx.update(given, state, theta, step=jnp.int32(step), base=base)
    finally:
        projection.leading = plain


def problem(dtype):
    generator = np.random.default_rng(3)
    shapes = {"one": (4, 5), "two": (5, 6)}
    kernels = {path: jnp.asarray(generator.normal(size=s), dtype) for path, s in shapes.items()}
    batches = generator.normal(size=(12, 10, 4)), generator.normal(size=(12, 10, 6))
    return kernels, [tuple(jnp.asarray(leaf[t]) for leaf in batches) for t in range(12)]


def loss(method, kernels, theta, aux, batch):
    x, y = batch
    head = {"bias": jnp.zeros((), x.dtype)}
    return linear.chain(method, x, kernels, y).loss(theta, aux, head)


@pytest.mark.thorough  # the released optimiser above
@pytest.mark.parametrize(("late", "differ"), [(0, False), (1, True)])
def test_with_descent_it_is_relora_restarted_from_the_gradient(late, differ):
    """Restarted with a = P and b = 0, a frozen. The control takes the basis of a batch before."""
    with jax.enable_x64(True):
        kernels, batches = problem(jnp.float64)
        ours = galore(GaloreConfig(rank=2, gap=4, update_scale=1.0), Run(SGD, 12))
        config = MethodConfig("relora", rank=2, alpha=2.0, restart_every=4, rewarm=0.0)
        chain = make(config, SGD, 12)

        @jax.jit
        def galore_step(theta, opt, batch, step):
            gradient = jax.grad(lambda t: loss(ours, kernels, t, empty, batch))(theta)
            updates, opt = ours.tx.update(gradient, opt, theta, step=step)
            return jax.tree.map(jnp.add, theta, updates), opt, gradient

        @jax.jit
        def relora_step(theta, aux, opt, batch, step):
            gradient = jax.grad(lambda t: loss(chain, kernels, t, aux, batch))(theta)
            gradient = {p: {**g, "a": jnp.zeros_like(g["a"])} for p, g in gradient.items()}
            updates, opt = chain.tx.update(gradient, opt, theta, step=step)
            info = linear_info(step, gradient)
            return chain.post(jax.tree.map(jnp.add, theta, updates), aux, opt, info)

        theta, empty = ours.prepare(None, kernels, None)
        opt, dense = ours.tx.init(theta), []
        links, aux = chain.prepare(jax.random.key(0), kernels, None)
        state = chain.tx.init(links)
        for step, batch in enumerate(batches):
            theta, opt, gradient = galore_step(theta, opt, batch, jnp.int32(step))
            dense.append(gradient)
            if step % 4 == 0:
                source = dense[max(step - late, 0)]
                links = {
                    path: {**leaves, "a": projection.leading(source[path]["delta"], 2)}
                    for path, leaves in links.items()
                }
            links, aux, state = relora_step(links, aux, state, batch, jnp.int32(step))
        for path in kernels:
            change = chain.export(kernels[path], links[path], aux[path])
            error = np.abs(change.a @ change.b - theta[path]["delta"]).max()
            assert error > 1e-3 if differ else error < 1e-12


def linear_info(step, gradient):
    from finetune.adapters.method import Info

    return Info(step, jax.random.fold_in(jax.random.key(1), step), gradient, {})


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 6), (2, 9)])
@pytest.mark.parametrize("name", ["galore", "adarankgrad"])
def test_the_optimiser_is_small(name, shape):
    method = make(MethodConfig(name, rank=3), OptimiserConfig(), 5)
    theta, aux = method.prepare(None, {"fc": jnp.ones(shape)}, None)
    state = method.tx.init(theta)["fc"]
    side, length, rank = min(shape), max(shape), min(3, *shape)
    assert state["basis"].shape == (side, rank)
    assert state["first"].shape == state["second"].shape == (rank, length)
    numbers = sum(leaf.size for leaf in jax.tree.leaves(state))
    assert numbers - rank * (2 * length + side) <= 2  # a norm and an age
    assert theta["fc"]["delta"].shape == shape
    assert isinstance(method.export(None, theta["fc"], aux["fc"]), Dense)
    plain = make(MethodConfig(name, rank=3), SGD, 5).tx.init(theta)["fc"]
    assert "first" not in plain


def test_rotated_moments_do_not_see_the_basis():
    """Another basis of the same subspace changes nothing once the averages are carried over."""
    generator = np.random.default_rng(0)
    basis = jnp.asarray(np.linalg.qr(generator.normal(size=(6, 2)))[0])
    state = {"basis": basis, "first": jnp.ones((2, 4)), "second": jnp.ones((2, 4))}
    flipped = projection.carried(state, -basis[:, ::-1], "squared")
    np.testing.assert_allclose(
        flipped["basis"] @ flipped["first"], basis @ state["first"], atol=1e-6
    )
    np.testing.assert_allclose(flipped["second"], state["second"], atol=1e-6)
    # The paper's rule turns second moments as it turns first ones; a flip would make them negative.
    assert (projection.carried(state, -basis, "rotated")["second"] == 0).all()
    assert (projection.carried(state, -basis, "kept")["second"] == 1).all()
    assert (projection.carried(state, -basis, "reset")["first"] == 0).all()


def test_weight_decay_reaches_the_base_if_wanted():
    options = OptimiserConfig(weight_decay=0.5, learning_rate=0.1, schedule="constant", warmup=0)
    x, kernel, y = linear.data()
    result = []
    for base in (True, False):
        method = make(MethodConfig("galore", decay_base=base), options, 5)
        kernels = {"fc": jnp.asarray(kernel, jnp.float32)}
        theta, aux = method.prepare(None, kernels, None)
        target = linear.objective(method, x.astype(np.float32), kernels, y.astype(np.float32))
        one = jax.jit(functools.partial(linear.advance, method, target))
        theta, _, _ = one((theta, aux, method.tx.init(theta)), 0)
        result.append(theta["fc"]["delta"])
    np.testing.assert_allclose(result[0] - result[1], -0.1 * 0.5 * kernel, atol=1e-6)


@pytest.mark.thorough  # training/test_step.py adds parts up
def test_parts_of_a_batch_are_the_batch():
    """The kernels that weight decay reads pass through the average over the parts unchanged."""
    # With a small epsilon, Adam makes steps of the rounding of small entries.
    options = OptimiserConfig(weight_decay=0.1, learning_rate=0.01, warmup=0, clip=0, epsilon=0.1)
    states = []
    for parts in (1, 2):
        settings = StepConfig(clip=0, accumulate=parts)
        run = small.Run(MethodConfig("galore", rank=5), options=options, settings=settings)
        states.append(run.states(3)[-1])
        assert run.traces == 1
    for path, leaves in states[0].theta.items():
        other = states[1].theta[path]["delta"]
        np.testing.assert_allclose(leaves["delta"], other, atol=1e-5)


def test_dropout_acts_on_the_change_alone():
    method = make(MethodConfig("galore"), OptimiserConfig(), 5)
    theta, x = {"delta": jnp.ones((3, 2))}, jnp.ones((4, 3))
    dropped = method.apply(x, jnp.eye(3)[:, :2], theta, {}, jnp.zeros_like)
    assert np.array_equal(dropped, jnp.ones((4, 2)))
    assert float(method.apply(x, jnp.eye(3)[:, :2], theta, {}, lambda x: x)[0, 0]) == 4
    rows = method.lookup(jnp.array([2]), jnp.zeros((3, 2)), theta, {})
    assert rows.tolist() == [[1.0, 1.0]]


def losses(name, **options):
    run = small.Run(MethodConfig(name, rank=2, gap=5, update_scale=1.0, **options), steps=60)
    result, state = [], run.first
    for number in range(60):
        state, metrics = run.step(state, run.net.params, run.batch(number))
        result.append(float(metrics["loss"]))
    return np.asarray(result)


@pytest.mark.thorough  # the released optimiser above
@pytest.mark.parametrize("name", ["galore", "adarankgrad"])
def test_it_learns_where_averages_are_carried_over(name):
    """The control is the printed rule: second moments clamped to 0 make steps of any size."""
    result = losses(name, moments="squared")
    assert result[-10:].mean() < 0.75 * result[:5].mean() and result.max() < 2
    assert losses(name, moments="rotated").max() > 10


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gap": 0}, "gap is 0; allowed are integers >= 1"),
        ({"update_scale": 0.0}, "update_scale is 0.0"),
        ({"moments": "lost"}, "moments is 'lost'; allowed are 'kept'"),
        ({"least_rank": 5}, "least_rank is 5; allowed are integers from 1 to 4, the rank"),
        ({"residual": 1.0}, r"residual is 1.0; allowed are numbers in \[0, 1\)"),
        ({"sketch": -1}, "sketch is -1"),
    ],
)
def test_settings_outside_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig("adarankgrad", **options)
