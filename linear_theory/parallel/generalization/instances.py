"""Hidden maps, their noisy samples, and the best rank-r fits: instances of the noise-floor claims.

Legend: as in `generalization`; L noise levels.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import deflation
from deflation import Regression
from linear_theory.instances.random_matrices import generator

VALUES = np.array([3.0, 2.0, 1.2])  # of the reference setting of the noise floor


class Sample(NamedTuple):
    """A batch of hidden maps, leading axis trials but for the levels.

    x: (d, n). truth: W (m, d). noise: (m, n), unit variance. levels: standard deviations (L,).
    """

    x: np.ndarray
    truth: np.ndarray
    noise: np.ndarray
    levels: np.ndarray


def draw_sample(key: jax.Array, trials: int, sizes, levels, *, of_map: bool = False) -> Sample:
    """Gaussian X and a random map of rank 3.

    Args:
      key: a typed JAX key.
      trials: number of maps.
      sizes: m, d and n >= d.
      levels: standard deviations of the noise.
      of_map: False gives the output W X the singular values VALUES; True gives W itself a quarter
        of them, so that W does not depend on X.

    Returns:
      A Sample in float64.

    Example:
      >>> draw_sample(jax.random.key(0), 2, (4, 5, 9), (0.1,)).truth.shape
      (2, 4, 5)
    """
    rows, columns, samples = sizes
    numbers = generator(key)
    left = _orthonormal(numbers, trials, rows)
    right = _orthonormal(numbers, trials, columns)
    x = numbers.normal(size=(trials, columns, samples))
    truth = (left * VALUES) @ np.swapaxes(right, 1, 2)
    if of_map:
        truth = truth / 4
    else:
        # X = triangle^T Q^T, and truth is what W triangle^T should be.
        triangle = np.linalg.qr(np.swapaxes(x, 1, 2), mode="r")
        truth = np.swapaxes(np.linalg.solve(triangle, np.swapaxes(truth, 1, 2)), 1, 2)
    return Sample(x, truth, numbers.normal(size=(trials, rows, samples)), np.asarray(levels))


def fits(sample: Sample, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors b (trials, 1 + L, r, m) and a (trials, 1 + L, r, d) of the best rank-r fits, by
    `deflation.exact`, in original coordinates: of the clean targets and at every noise level.

    Example:
      >>> fits(draw_sample(jax.random.key(0), 2, (4, 5, 9), (0.1,)), 3)[0].shape
      (2, 2, 3, 4)
    """
    levels = np.concatenate([np.zeros(1), sample.levels])
    b, a = _fit(sample.x, sample.truth @ sample.x, sample.noise, levels, rank)
    return np.asarray(b), np.asarray(a)


@functools.partial(jax.jit, static_argnames="rank")
def _fit(x, clean, noise, levels, rank: int):
    def problem(x, clean, noise):
        # One reduction for all levels: it is linear in Y.
        both = Regression.from_data(x, jnp.concatenate([clean, noise]))
        target, change = both.target[: len(clean)], both.target[len(clean) :]

        def at(level):
            noisy = both._replace(target=target + level * change)
            return deflation.exact(noisy, rank, certify=False).components

        return jax.vmap(at)(levels)

    return jax.vmap(problem)(x, clean, noise)


def _orthonormal(numbers, trials: int, rows: int) -> np.ndarray:
    return np.linalg.qr(numbers.normal(size=(trials, rows, len(VALUES))))[0]
