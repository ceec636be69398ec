"""A linear teacher for a factored update, random instances of it, and how factors are followed.

Legend: X (N, d) inputs, S = X^T X/N (d, d), Delta (d, k) of rank r* what is to be learned, a
factored update A B with A (d, r), B (r, k); loss 1/2 tr((A B - Delta)^T S (A B - Delta)); G = S
Delta minus its gradient in the product at 0. kappa = s_1/s_{r*}. Updates are simultaneous.

Functions of arrays take JAX or numpy arrays, any leading axes, and keep the dtype. Instances are
numpy: a thousand small matrix products a step are not worth compiling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from linear_theory.instances.random_matrices import generator

Array = jax.Array | np.ndarray


class Teacher(NamedTuple):
    """Instances with leading axis trials; rank r* = len(values).

    Attributes:
      x: (N, d). gram: S, (d, d). delta: (d, k). left, values, right: its SVD, (d, r*), (r*,),
      (k, r*). noise: standard Gaussian, (N, k). start: standard Gaussian, (d, r).
      uniform: in [0, 1), (8,), for what else an instance needs.
    """

    x: np.ndarray
    gram: np.ndarray
    delta: np.ndarray
    left: np.ndarray
    values: np.ndarray
    right: np.ndarray
    noise: np.ndarray
    start: np.ndarray
    uniform: np.ndarray


def factor_gradients(gram: Array, delta: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """grad_A = S (A B - Delta) B^T, grad_B = A^T S (A B - Delta).

    Args:
      gram: S (..., d, d).
      delta: (..., d, k).
      a: (..., d, r).
      b: (..., r, k).

    Returns:
      (..., d, r) and (..., r, k).

    Source: arXiv 2502.01235, the gradients of its linear setting.

    Example:
      >>> one = np.ones((1, 1))
      >>> [float(g[0, 0]) for g in factor_gradients(2 * one, one, 3 * one, one)]
      [4.0, 12.0]
    """
    slope = gram @ (a @ b - delta)
    return slope @ b.mT, a.mT @ slope


def draw_teachers(
    key: jax.Array,
    trials: int,
    *,
    d: int = 10,
    k: int = 8,
    samples: int | None = 80,
    rank: int = 3,
    inner: int | None = None,
    kappa: tuple[float, float] = (1.0, 4.0),
) -> Teacher:
    """Random teachers with s_1 = 1, s_{r*} = 1/kappa and the others in between.

    Args:
      key: a typed JAX key.
      trials: number of instances.
      d, k: shape of Delta.
      samples: N Gaussian inputs; None for S = I (X = sqrt(d) I).
      rank: r*.
      inner: r of the Gaussian start; r* when None.
      kappa: the range of the condition number, uniform in its logarithm.

    Example:
      >>> draw_teachers(jax.random.key(0), 5, d=4).gram.shape
      (5, 4, 4)
    """
    random = generator(key)
    if samples is None:
        x = np.broadcast_to(np.sqrt(d) * np.eye(d), (trials, d, d))
        gram = np.broadcast_to(np.eye(d), (trials, d, d))
    else:
        x = random.normal(size=(trials, samples, d))
        gram = x.mT @ x / samples
    left = np.linalg.qr(random.normal(size=(trials, d, rank)))[0]
    right = np.linalg.qr(random.normal(size=(trials, k, rank)))[0]
    ratio = kappa[0] * (kappa[1] / kappa[0]) ** random.random((trials, 1))
    between = -np.sort(-random.random((trials, max(rank - 2, 0))), axis=1)
    exponents = np.concatenate([np.ones((trials, 1)), between, np.zeros((trials, 1))], axis=1)
    values = ratio ** (exponents[:, :rank] - 1) if rank > 1 else np.ones((trials, 1))
    return Teacher(
        x,
        gram,
        (left * values[:, None]) @ right.mT,
        left,
        values,
        right,
        random.normal(size=(trials, x.shape[1], k)),
        random.normal(size=(trials, d, inner or rank)),
        random.random((trials, 8)),
    )


# Laws of one entry of an input, of mean 0 and variance 1, and their fourth moments.
LAWS = ("signs", "uniform", "sparse signs")
SPARSITY = 4  # a sparse sign is +-2 with probability 1/4, else 0
FOURTH = np.array([1.0, 9 / 5, float(SPARSITY)])


def by_law(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Independent entries of the three `LAWS`, (3, *shape).

    Example:
      >>> by_law(np.random.default_rng(0), 2, 5).shape
      (3, 2, 5)
    """
    signs, sparse = np.sign(rng.standard_normal((2, *shape)))
    sparse = SPARSITY**0.5 * sparse * (rng.random(shape) < 1 / SPARSITY)
    return np.stack([signs, 3**0.5 * rng.uniform(-1, 1, shape), sparse])


def follow(step: Callable, a: np.ndarray, b: np.ndarray, steps: int) -> tuple[np.ndarray, ...]:
    """The factors before and after each of `steps` steps (a, b) -> (a, b), stacked along axis 1.

    Example:
      >>> follow(lambda a, b: (2 * a, b), np.ones((1, 1, 1)), np.ones((1, 1, 1)), 3)[0].ravel()
      array([1., 2., 4., 8.])
    """
    path = [(a, b)]
    for _ in range(steps):
        path.append(step(*path[-1]))
    return tuple(np.stack(factors, axis=1) for factors in zip(*path, strict=True))


def gradient_step(teacher: Teacher, rate_a=1.0, rate_b=1.0) -> Callable:
    """One step of gradient descent with step sizes eta_1 for A and eta_2 for B.

    Rates are numbers or arrays that broadcast against (trials, 1, 1).
    """

    def step(a, b):
        slope_a, slope_b = factor_gradients(teacher.gram, teacher.delta, a, b)
        return a - rate_a * slope_a, b - rate_b * slope_b

    return step


def per_trial(numbers: np.ndarray) -> np.ndarray:
    """(trials,) as (trials, 1, 1), to scale a matrix of each instance."""
    return np.asarray(numbers)[:, None, None]
