"""Claims: the norm of Gaussian noise, as far as the inputs can fit it.

Legend: E (m, n) independent N(0, std^2) entries, X (d, n) inputs, P_X the projector on their row
space, miss the probability that a radius is exceeded.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.draws import draw_numbers
from linear_theory.sequential.cascade import recovery

NOISE_SHAPE = (64, 4, 20)
NOISE_INPUTS = 5
MISSES = (0.5, 0.2, 0.1, 0.05)


class Noises(NamedTuple):
    """Norms of 64 draws of a (4, 20) noise E with unit entries, rows of X of rank 5.

    spectral: ||E P_X||_2. frobenius: ||E P_X||. raw: ||E||_2. All (trials, 64).
    """

    spectral: jax.Array
    frobenius: jax.Array
    raw: jax.Array


def draw_noises(key: jax.Array, trials: int) -> Noises:
    """64 draws of the noise per instance, on random inputs with n = 4 d."""
    key_noise, key_inputs = jax.random.split(key)
    normal, _ = draw_numbers(key_inputs, trials)
    return _noises(jax.random.normal(key_noise, (trials, *NOISE_SHAPE)), normal)


@per_instance
def _noises(noise: jax.Array, normal: jax.Array) -> Noises:
    samples = NOISE_SHAPE[-1]
    inputs = normal[: NOISE_INPUTS * samples].reshape(samples, NOISE_INPUTS)
    basis = jnp.linalg.qr(inputs)[0]
    fitted = noise @ basis
    return Noises(
        spectral=_largest(fitted),
        frobenius=jnp.linalg.norm(fitted, axis=(1, 2)),
        raw=_largest(noise),
    )


def _largest(matrices: jax.Array) -> jax.Array:
    # One at a time: see `per_instance`.
    return jnp.sqrt(jax.lax.map(lambda one: jnp.linalg.eigvalsh(one @ one.T)[-1], matrices))


def _coverage(norms: np.ndarray, radius) -> Evidence:
    """Share of draws within the radius, against 1 - miss."""
    misses = np.array(MISSES)
    inside = norms[:, :, None] <= np.asarray(radius(NOISE_SHAPE[1], NOISE_INPUTS, 1.0, misses))
    return Evidence(inside.mean(axis=1), (1 - misses)[None])


def _noise_spectral(noises: Noises) -> Evidence:
    return _coverage(noises.spectral, recovery.noise_radius)


def _noise_raw(noises: Noises) -> Evidence:
    return _coverage(noises.raw, recovery.noise_radius)


def _noise_frobenius(noises: Noises) -> Evidence:
    return _coverage(noises.frobenius, recovery.noise_radius_frobenius)


def _noise_frobenius_mean(noises: Noises) -> Evidence:
    return _coverage(noises.frobenius, lambda p, q, std, _: std * (p * q) ** 0.5)


CLAIMS = (
    Claim(
        name="cascade.noise_spectral",
        source="arXiv 2505.22602, lemma 6; Davidson and Szarek 2001",
        statement="Spectral norm of the fitted noise, which depends on d and not on n.",
        formula="P(||E P_X||_2 <= std (sqrt(m) + sqrt(d) + sqrt(2 ln(1/miss)))) >= 1 - miss",
        kind="lower",
        status="corrected",
        instances=draw_noises,
        measure=_noise_spectral,
        control=Control("the same radius for ||E||_2, not projected", _noise_raw),
    ),
    Claim(
        name="cascade.noise_frobenius",
        source="arXiv 2505.22602, lemma 6",
        statement="Frobenius norm of the fitted noise.",
        formula="P(||E P_X|| <= std (sqrt(m d) + sqrt(2 ln(1/miss)))) >= 1 - miss",
        kind="lower",
        status="corrected",
        instances=draw_noises,
        measure=_noise_frobenius,
        control=Control("without the deviation, std sqrt(m d)", _noise_frobenius_mean),
    ),
)
