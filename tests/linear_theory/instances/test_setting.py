"""What an experiment draws: the protocol, seeds and noise, and the fixed step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from linear_theory.instances import setting
from linear_theory.instances.setting import Setting

TINY = Setting(m=8, d=10, n=25, rank=3, trials=2)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"design": "diagonal"}, "design is 'diagonal'; allowed are"),
        ({"step": "large"}, "step is 'large'; allowed are"),
        ({"trials": 0}, "trials is 0; allowed are"),
    ],
)
def test_a_setting_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        Setting(**change)


def test_the_protocol(x64):
    drawn, first = TINY.draw(), TINY.first_factors()
    assert (drawn.truth.shape, drawn.x.shape) == ((8, 10), (10, 25))
    np.testing.assert_allclose(jnp.linalg.norm(drawn.x, axis=0), 1.0)
    assert first.b.shape == (2, 3, 8) and first.a.shape == (2, 3, 10) and not first.a.any()
    many = dataclasses.replace(TINY, trials=200).first_factors().b
    np.testing.assert_allclose(jnp.mean(many**2), 1 / 8, rtol=0.1)
    for name in ("uniform", "exponential", "power"):
        np.testing.assert_allclose(jnp.sum(setting.normalised(name, 5) ** 2), 5.0)


def test_seeds_and_noise(x64):
    other = dataclasses.replace(TINY, seed=1)
    assert not np.allclose(TINY.draw().x, other.draw().x)
    assert not np.allclose(TINY.first_factors().b, other.first_factors().b)
    noise, again, sparse = TINY.noise(), TINY.noise(draw=1), TINY.noise(0.05)
    assert noise.shape == (2, 8, 25)
    np.testing.assert_array_equal(noise, TINY.noise())
    # Independent of another draw, and of one trial to the next.
    assert abs(np.corrcoef(noise.ravel(), again.ravel())[0, 1]) < 0.2
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.3
    np.testing.assert_allclose(noise.std(), 1.0, rtol=0.15)
    assert 0 < np.mean(np.asarray(sparse) != 0) < 0.12


def test_the_fixed_step_knows_the_scale_of_the_design():
    sizes = {d: dataclasses.replace(TINY, design=d).solver.step_size for d in ("column", "gauss")}
    assert sizes["column"] == 0.003 and sizes["gauss"] == pytest.approx(0.003 / 10)
    assert dataclasses.replace(TINY, step="auto").solver.step_size is None
