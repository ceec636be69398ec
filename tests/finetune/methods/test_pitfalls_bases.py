"""Known hazards of the methods that change whole matrices or chain adapters, by their row."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.adapters import projection
from finetune.methods import MethodConfig
from finetune.training import adapter_files
from tests.finetune.training import small

CONFIGS = [
    MethodConfig("galore", rank=2, gap=3),
    MethodConfig("adarankgrad", rank=2, gap=3),
    MethodConfig("relora", rank=2, restart_every=3),
    MethodConfig("relora", rank=2, restart_every=3, store="sum"),
    MethodConfig("cola", rank=2),
    MethodConfig("welore"),
]
run_of = functools.cache(small.Run)
thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)


# AdaRankGrad's change is GaLore's; sums and COLA are exported in the tests of chains.
@pytest.mark.parametrize(
    "config",
    [*CONFIGS[::2][:2], CONFIGS[5], *(thorough(CONFIGS[i]) for i in (1, 3, 4))],
    ids=lambda c: f"{c.name}-{getattr(c.settings, 'store', '')}",
)
def test_row_12_the_base_is_kept_and_with_the_state_gives_the_network(config):
    """A base that a method writes into is lost on export and resume; here none does."""
    before = {name: np.array(leaf) for name, leaf in small.net().params.items()}
    run = run_of(config)
    last = run.states()[-1]
    assert all(np.array_equal(before[name], leaf) for name, leaf in run.net.params.items())
    # From the untouched base and the state alone, both ways to the trained network agree.
    batch = run.batch(0, 40)
    own = run.predict(last.theta, last.aux, last.head, before, batch)
    adapter = adapter_files.exported(run.method, last, run.kernels, {})
    deployed = adapter_files.predict(run.net, adapter.modules, adapter.head)(before, batch)
    np.testing.assert_allclose(deployed, own, atol=1e-5)
    untrained = run.predict(run.first.theta, run.first.aux, last.head, before, batch)
    assert np.abs(np.asarray(untrained) - np.asarray(own)).max() > 1e-3


def test_row_14_singular_vectors_have_one_sign():
    generator = np.random.default_rng(0)
    gradient = jnp.asarray(generator.normal(size=(6, 9)), jnp.float32)
    basis = np.asarray(projection.leading(gradient, 4))
    rows = np.abs(basis).argmax(axis=0)
    assert (basis[rows, np.arange(4)] > 0).all()
    # The SVD itself answers -G with the other signs on one side; ours does not see the difference.
    np.testing.assert_allclose(projection.leading(-gradient, 4), basis, atol=1e-5)
    for signs in np.array([[1, -1, 1, -1], [-1, -1, -1, -1]]):
        np.testing.assert_array_equal(projection.canonical(jnp.asarray(basis * signs)), basis)
    result = projection.adaptive(gradient, 4, least=4, residual=0.0)
    np.testing.assert_allclose(result, basis, atol=1e-5)


@pytest.mark.parametrize("name", ["relora", thorough("cola")])
def test_row_21_relora_first_cycle_is_not_dead(name):
    """With a = b = 0 neither would ever get a gradient; nor in the cycles after a restart."""
    run = run_of(CONFIGS[2] if name == "relora" else CONFIGS[4])
    states = run.states()
    starts = [0, *[t for t in range(1, 13) if _link(states[t]) > _link(states[t - 1])]]
    assert len(starts) >= 3
    for start in starts:
        for path, leaves in states[start].theta.items():
            assert np.any(leaves["a"]) and not np.any(leaves["b"])
            assert np.any(states[min(start + 1, 12)].theta[path]["b"]) or start == 12
    drawn = [np.asarray(states[t].theta["fc1"]["a"]) for t in starts]
    assert not np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[1], drawn[2])


def _link(state):
    return int(state.aux["fc1"]["link"])
