"""ReLoRA and COLA: links, restarts, what is exported, what the optimiser forgets."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from finetune.adapters.method import Info, Run, unchanged
from finetune.methods import Dense, MethodConfig, make
from finetune.methods.relora import ReloraConfig, pruned, relora
from finetune.optimiser import OptimiserConfig, rate
from finetune.training import step
from tests.finetune.training import small

CHAINS = [
    MethodConfig("relora", rank=2, restart_every=4),
    MethodConfig("relora", rank=2, restart_every=4, store="sum"),
    MethodConfig("relora", rank=2, restart_every=5, pruning="reset", rates="own"),
    MethodConfig("cola", rank=2),
    MethodConfig("cola", rank=2, store="sum", rates="jagged", rewarm=2),
]


run_of = functools.cache(small.Run)


def logits(run, state):
    return np.asarray(
        run.predict(state.theta, state.aux, state.head, run.net.params, run.batch(0, 40))
    )


def unrestarted(run):
    """A step whose `post` does nothing: (state, number) -> the state after it."""
    stopped = dataclasses.replace(run.method, post=unchanged)
    plain = step.train_step(run.net, stopped, run.task.loss, run.head_tx, step.StepConfig())
    compiled = jax.jit(plain)
    return lambda state, number: compiled(state, run.net.params, run.batch(number))[0]


# Of every kind one step is compared below; prunings and rates are looked at below.
@pytest.mark.parametrize(
    "config",
    [
        CHAINS[4],
        *(pytest.param(one, marks=pytest.mark.thorough) for one in CHAINS[:4]),
    ],
    ids=str,
)
def test_the_function_does_not_change_at_a_restart_and_the_export_is_exact(config):
    run = run_of(config)
    moments, plain_step = run.states(), unrestarted(run)
    links = [int(state.aux["fc1"]["link"]) for state in moments]
    every = getattr(config.settings, "restart_every", 4)
    assert links == [min(t // every, links[-1]) for t in range(13)] and links[-1] == 2
    for number, (one, two) in enumerate(itertools.pairwise(moments)):
        if two.aux["fc1"]["link"] == one.aux["fc1"]["link"]:
            continue
        assert not np.any(two.theta["fc1"]["b"]), "a new link starts as nothing"
        whole = plain_step(one, number)
        assert np.any(whole.theta["fc1"]["b"]) and small.same(whole.head, two.head)
        np.testing.assert_allclose(logits(run, whole), logits(run, two), atol=1e-6)
        ranks = run.method.ranks(two.theta, two.aux)
        assert int(ranks["fc1"]) == 2 * (1 + int(two.aux["fc1"]["link"]))
    last = moments[-1]
    changed = dict(run.net.params) | last.head
    for path in run.paths:
        change = run.method.export(run.kernels[path], last.theta[path], last.aux[path])
        assert isinstance(change, Dense) == (config.settings.store == "sum")
        delta = change.delta if isinstance(change, Dense) else change.a @ change.b
        if not isinstance(change, Dense):
            assert change.a.shape[1] == 6  # three links of rank 2
        changed[f"{path}.weight"] = run.net.params[f"{path}.weight"] + delta
    plain = run.predict({}, {}, {}, changed, run.batch(0, 40))
    np.testing.assert_allclose(plain, logits(run, last), atol=2e-6)


def test_links_and_their_sum_train_alike():
    one, two = (run_of(config).states()[-1] for config in CHAINS[:2])
    for path in one.theta:
        np.testing.assert_allclose(
            one.aux[path]["a"] @ one.aux[path]["b"], two.aux[path]["acc"], atol=1e-5
        )
        np.testing.assert_allclose(one.theta[path]["b"], two.theta[path]["b"], atol=1e-5)


def test_finished_links_are_not_trained_nor_dropped():
    run = run_of(CHAINS[0])
    after = run.states()
    first = np.asarray(after[4].aux["fc1"]["a"])[:, :2]
    assert np.any(first)
    for state in after[5:]:
        assert np.array_equal(np.asarray(state.aux["fc1"]["a"])[:, :2], first)
    state = after[-1]
    x = jnp.ones((2, 6))
    dropped = run.method.apply(
        x, run.kernels["fc1"], state.theta["fc1"], state.aux["fc1"], jnp.zeros_like
    )
    entry = state.aux["fc1"]
    np.testing.assert_allclose(
        dropped, x @ (run.kernels["fc1"] + entry["a"] @ entry["b"]), atol=1e-5
    )
    ids = jnp.array([3, 0])
    rows = run.method.lookup(ids, run.kernels["fc1"], state.theta["fc1"], entry)
    whole = run.method.apply(
        jnp.eye(6)[ids], run.kernels["fc1"], state.theta["fc1"], entry, lambda x: x
    )
    np.testing.assert_allclose(rows, whole, atol=1e-5)


def adam(opt):
    result = jax.tree.leaves(opt, is_leaf=lambda s: isinstance(s, optax.ScaleByAdamState))
    (state,) = [s for s in result if isinstance(s, optax.ScaleByAdamState)]
    return state


def test_what_the_optimiser_forgets():
    leaf = jnp.arange(1.0, 1001.0).reshape(100, 10)
    state = (optax.ScaleByAdamState(jnp.int32(7), {"a": leaf}, {"a": leaf**2}), optax.EmptyState())
    for pruning, share in (("random", 0.9), ("magnitude", 0.9)):
        config = ReloraConfig(pruning=pruning, pruned=share)
        cut = jax.jit(functools.partial(pruned, config=config))
        result = adam(cut(jax.random.key(0), state))
        assert int(result.count) == 7
        kept = np.asarray(result.mu["a"] != 0), np.asarray(result.nu["a"] != 0)
        for mask in kept:
            assert 70 <= mask.sum() <= 130
        assert np.array_equal(np.asarray(result.mu["a"])[kept[0]], np.asarray(leaf)[kept[0]])
        if pruning == "magnitude":
            assert kept[0].sum() == 100 and kept[0][90:].all()
        else:
            assert not np.array_equal(*kept)  # each average has a mask of its own
    for pruning, empty in (("random", True), ("reset", True), ("kept", False)):
        run = run_of(MethodConfig("relora", rank=2, restart_every=4, pruning=pruning))
        state = adam(run.states(4)[-1].opt)
        assert int(state.count) == (0 if pruning == "reset" else 4)
        # 82 entries: a thousandth of them is most likely none.
        assert (sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(state.mu)) < 3) == empty


def rates(method, total, theta):
    """What the chain multiplies a direction by: of a gradient of ones with plain descent."""

    def multiplied(step):
        updates, _ = method.tx.update(theta, method.tx.init(theta), theta, step=step)
        return -updates["fc"]["b"][0, 0]

    return np.asarray(jax.jit(jax.vmap(multiplied))(jnp.arange(total)))


def test_the_rate_starts_again():
    options = OptimiserConfig("sgd", learning_rate=1.0, schedule="cosine", warmup=2)
    ones = {"fc": {"a": jnp.ones((3, 2)), "b": jnp.ones((2, 5))}}
    scheduled = jax.jit(lambda t, total: rate(options, t, total))
    plain = np.asarray([float(scheduled(t, 20)) for t in range(20)])
    jagged = rates(relora(ReloraConfig(restart_every=8, rewarm=3), Run(options, 20)), 20, ones)
    factor = np.ones(20)
    factor[[8, 9, 16, 17]] = 1 / 3, 2 / 3, 1 / 3, 2 / 3
    np.testing.assert_allclose(jagged, plain * factor, atol=1e-6)
    own = rates(relora(ReloraConfig(restart_every=8, rates="own"), Run(options, 20)), 20, ones)
    expected = [float(scheduled(t, n)) for n in (8, 8, 4) for t in range(n)]
    np.testing.assert_allclose(own, expected, atol=1e-6)
    cola = rates(make(MethodConfig("cola"), options, 20), 20, ones)
    expected = [float(scheduled(t, n)) for n in (7, 7, 6) for t in range(n)]
    np.testing.assert_allclose(cola, expected, atol=1e-6)


def test_a_late_step_does_not_miss_its_restart():
    """Row 2: `post` called first well past the end of a link restarts then."""
    method = relora(ReloraConfig(rank=2, restart_every=4), Run(OptimiserConfig(), 12))
    theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
    opt = method.tx.init(theta)

    @jax.jit
    def post(theta, aux, opt, number):
        return method.post(theta, aux, opt, Info(number, jax.random.key(1), theta, {}))

    for number, link in ((2, 0), (6, 1), (7, 2), (20, 2)):
        theta, aux, opt = post(theta, aux, opt, jnp.int32(number))
        assert int(aux["fc"]["link"]) == link


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "relora", "restart_every": 0}, "restart_every is 0"),
        ({"name": "relora", "pruned": 1.5}, r"pruned is 1.5; allowed are numbers in \[0, 1\]"),
        ({"name": "relora", "pruning": "none"}, "pruning is 'none'"),
        ({"name": "relora", "store": "disk"}, "store is 'disk'; allowed are 'links', 'sum'"),
        ({"name": "cola", "rewarm": -1}, "rewarm is -1"),
        ({"name": "cola", "links": 0}, "links is 0"),
    ],
)
def test_settings_outside_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        MethodConfig(**options)


def test_more_links_than_steps_are_refused():
    with pytest.raises(ValueError, match="links is 3; allowed are at most 2, the steps"):
        make(MethodConfig("cola"), OptimiserConfig(), 2)
