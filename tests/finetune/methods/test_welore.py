"""WeLore: which kernels are replaced, that theirs is a truncation, and that the others stay."""

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.methods import Dense, MethodConfig, make
from finetune.optimiser import OptimiserConfig
from finetune.ranks import global_ranks
from finetune.training import adapter_files
from tests.finetune.training import small


def kernels(seed=0):
    """One kernel of low rank, one whose singular values are nearly equal, one in between."""
    generator = np.random.default_rng(seed)
    spectra = {
        "low": np.r_[9.0, 7.0, np.linspace(0.3, 0, 6)],
        "flat": np.linspace(2, 1.9, 8),
        "some": np.linspace(8, 0, 8) ** 2,
    }
    result = {}
    for path, values in spectra.items():
        left = np.linalg.qr(generator.normal(size=(10, 8)))[0]
        right = np.linalg.qr(generator.normal(size=(8, 8)))[0]
        result[path] = jnp.asarray((left * values) @ right.T, jnp.float32)
    return result


def prepared(**options):
    method = make(MethodConfig("welore", **options), OptimiserConfig(), 5)
    return method, *method.prepare(None, kernels(), None)


def test_one_threshold_chooses_ranks_and_kernels():
    method, theta, aux = prepared(cut=0.3)
    assert {p: int(r) for p, r in method.ranks(theta, aux).items()} == {"low": 2, "some": 4}
    for path, leaves in theta.items():
        left, values, right = np.linalg.svd(kernels()[path], full_matrices=False)
        rank = leaves["u"].shape[1]
        truncated = (left[:, :rank] * values[:rank]) @ right[:rank]
        np.testing.assert_allclose(leaves["u"] @ leaves["v"], truncated, atol=1e-4)
        balance = jnp.linalg.norm(leaves["u"], axis=0), jnp.linalg.norm(leaves["v"], axis=1)
        np.testing.assert_allclose(*balance, rtol=1e-4)
    assert set(prepared(cut=0.3, drop_share=0.6)[1]) == {"low"}


@pytest.mark.parametrize("keep", [0.45, 0.7, 0.9])
def test_the_share_of_parameters_is_met_by_the_least_threshold(keep):
    theta = prepared(keep=keep)[1]

    def share(theta):
        sizes = {path: kernel.size for path, kernel in kernels().items()}
        sizes |= {path: sum(map(np.size, leaves.values())) for path, leaves in theta.items()}
        return sum(sizes.values()) / 240

    assert share(theta) <= keep
    ranks = {path: leaves["u"].shape[1] for path, leaves in theta.items()}
    values = {
        p: np.linalg.svd(np.asarray(k, np.float64), compute_uv=False) for p, k in kernels().items()
    }
    spread = {p: (s - s[-1]) / (s[0] - s[-1]) for p, s in values.items()}
    lowest = min(spread[p][k - 1] for p, k in ranks.items())
    # At the next smaller normalised value, more is left than was asked for.
    smaller = max(v for s in spread.values() for v in s if v < lowest - 1e-9)
    less = global_ranks.at(values, smaller - 1e-9, 0.4999)
    if less != ranks:
        shapes = {path: kernel.shape for path, kernel in kernels().items()}
        left = 240 - sum(80 - k * sum(shapes[p]) for p, k in less.items())
        assert left / 240 > keep


def test_only_factors_are_trained_and_the_kernel_is_not_read():
    method, theta, aux = prepared(cut=0.3)
    x = jnp.ones((3, 10))
    out = method.apply(x, jnp.full((10, 8), jnp.nan), theta["low"], aux["low"], lambda x: x)
    np.testing.assert_allclose(out, x @ theta["low"]["u"] @ theta["low"]["v"], rtol=1e-5)
    rows = method.lookup(jnp.array([4, 1]), jnp.full((10, 8), jnp.nan), theta["low"], {})
    np.testing.assert_allclose(
        rows, (theta["low"]["u"] @ theta["low"]["v"])[jnp.array([4, 1])], atol=1e-5
    )
    change = method.export(kernels()["low"], theta["low"], {})
    assert isinstance(change, Dense)
    np.testing.assert_allclose(
        kernels()["low"] + change.delta, theta["low"]["u"] @ theta["low"]["v"], atol=1e-5
    )


def test_a_trained_network_is_its_merged_one():
    run = small.Run(MethodConfig("welore"), steps=3)
    last = run.states()[-1]
    assert not small.same(last.theta, run.first.theta)
    adapter = adapter_files.exported(run.method, last, run.kernels, {})
    batch = run.batch(0, 40)
    merged = adapter_files.predict(run.net, adapter.modules, adapter.head)(run.net.params, batch)
    own = run.predict(last.theta, last.aux, last.head, run.net.params, batch)
    np.testing.assert_allclose(merged, own, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cut": 1.5}, r"cut is 1.5; allowed are numbers in \[0, 1\]"),
        ({"cut": 0.1, "keep": 0.5}, "keep is 0.5 beside a cut"),
        ({"cut": 0.0}, "cut is 0.0, at which no kernel loses more than 0.4999"),
        ({"keep": 0.01}, "keep is 0.01; allowed are numbers from 0.225 to below 1"),
    ],
)
def test_settings_that_leave_nothing_to_train_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        prepared(**options)


def test_equal_singular_values_are_all_kept():
    result = {"one": np.ones(4), "two": np.array([4.0, 1, 0, 0])}
    assert global_ranks.at(result, 0.5, 0.4999) == {"two": 1}
