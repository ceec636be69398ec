"""Random regression problems with a prescribed fitted spectrum, and the first factors of a run.

Legend: X (d, n) inputs, Y (m, n) targets, S = X X^T, M = Y X^T S^{-1/2} (m, d) the whitened target;
s_1 = 1 >= ... >= s_K the singular values of M, which are those of Y P_X, K = min(m, d); r workers.

All runs of this package have the sizes below, so that one compiled program serves all claims.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Components, Regression

ROWS, COLUMNS, SAMPLES, RANK = 9, 8, 20, 4
VALUES = min(ROWS, COLUMNS)


class Problem(NamedTuple):
    """A batch of problems, leading axis trials.

    x (d, n), y (m, n), signal (m, n) = W* X: the data and what they hide. regression: the reduced
    problem. left (m, K), values (K,), right (d, K): singular value decomposition of its target.
    first: the workers' first factors (r, .), whitened. published: how many of them are visible to
    the other workers before the first round, 0 or r.
    """

    x: jax.Array
    y: jax.Array
    signal: jax.Array
    regression: Regression
    left: jax.Array
    values: jax.Array
    right: jax.Array
    first: Components
    published: jax.Array


def separated_spectrum(uniform: np.ndarray) -> np.ndarray:
    """Singular values (trials, K) from 1 downwards, from numbers (trials, 2 + K) in [0, 1).

    In equal parts: partial sums of gaps in (0.2, 1.2), geometric with ratio in (0.3, 0.8), and
    k^-p with p in (0.7, 2): better separated than those of `draws.mixed_spectrum`, as workers that
    must settle in a few hundred rounds need.

    Example:
      >>> separated_spectrum(np.full((1, 10), 0.5))[0, :2].round(3).tolist()
      [1.0, 0.55]
    """
    k = np.arange(VALUES)
    sums = np.cumsum(0.2 + uniform[:, 2 : 2 + VALUES], axis=1)[:, ::-1]
    geometric = (0.3 + 0.5 * uniform[:, 1:2]) ** k
    power = (k + 1.0) ** -(0.7 + 1.3 * uniform[:, 1:2])
    choice = (3 * uniform[:, :1]).astype(int)
    return np.select([choice == 0, choice == 1], [sums / sums[:, :1], geometric], power)


def slow_first_spectrum(uniform: np.ndarray) -> np.ndarray:
    """A first worker slower than all others: s_2/s_1 in (0.8, 0.86), the other ratios alternate
    between (0.45, 0.5) and (0.6, 0.65). Takes (trials, 2 + K), returns (trials, K).

    Example:
      >>> slow_first_spectrum(np.zeros((1, 10)))[0, :4].round(3).tolist()
      [1.0, 0.8, 0.36, 0.216]
    """
    low = np.where(np.arange(VALUES - 1) % 2, 0.45, 0.6)
    ratios = low + 0.05 * uniform[:, 2 : 1 + VALUES]
    ratios[:, 0] = 0.8 + 0.06 * uniform[:, 0]
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def slow_last_spectrum(uniform: np.ndarray) -> np.ndarray:
    """A slow third or fourth worker behind fast ones: its ratio s_{k+1}/s_k is in (0.9, 0.95), all
    others in (0.1, 0.3). Takes (trials, 2 + K), returns (trials, K).

    Example:
      >>> slow_last_spectrum(np.zeros((1, 10)))[0, :4].round(4).tolist()
      [1.0, 0.1, 0.01, 0.009]
    """
    ratios = 0.1 + 0.2 * uniform[:, 2 : 1 + VALUES]
    slow = 2 + (uniform[:, :1] > 0.5)
    ratios = np.where(np.arange(VALUES - 1) == slow, 0.9 + 0.05 * uniform[:, 1:2], ratios)
    return np.cumprod(np.concatenate([np.ones((len(ratios), 1)), ratios], axis=1), axis=1)


def draw(
    key: jax.Array,
    trials: int,
    spectrum=separated_spectrum,
    *,
    near: bool = False,
    size=1.0,
    overlap=1.0,
    conditioning: float = 10.0,
    outside: float = 0.3,
    noise=0.0,
    symmetric: bool = False,
) -> Problem:
    """Draws problems Y = U diag(s) V^T S^{-1/2} X + noise, and first factors.

    Args:
      key: a typed JAX key.
      trials: number of problems.
      spectrum: numbers (trials, 2 + K) in [0, 1) -> singular values (trials, K).
      near: the first factors are the exact ones, changed by `size`, and published at once; else
        they are b = 0 and a Gaussian a, published one per round, as `deflation.parallel` starts.
      size: relative change of the exact factors, a number, (trials, 1) or (trials, r).
      overlap: factor on the first directions' part along the top right singular vector, a number or
        (trials,). A small one is a start nearly orthogonal to it.
      conditioning: the singular values of X are drawn from 1 / conditioning to 1, uniform in their
        logarithm; 1 is X X^T = I.
      outside: standard deviation of the part of Y outside the row space of X.
      noise: standard deviation of noise in all of Y, a number or (trials,). With noise, `values`
        are no longer exactly the drawn spectrum.
      symmetric: M is V diag(s) V^T and a row of zeros below, which no worker sees; without noise.

    Returns:
      A Problem, in the default float type.

    Example:
      >>> draw(jax.random.key(0), 3).regression.target.shape
      (3, 9, 8)
    """
    # On the host: compiling the generator and these few factorisations would take longer than they.
    numbers = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    uniform = numbers.random((trials, 2 + VALUES + COLUMNS))
    left, right, x, rest, b, a = (numbers.normal(size=(trials, *shape)) for shape in _SHAPES)
    left, right = np.linalg.qr(left)[0], np.linalg.qr(right)[0]
    if symmetric:
        left = np.pad(right, ((0, 0), (0, ROWS - COLUMNS), (0, 0)))
    p, _, q = np.linalg.svd(x, full_matrices=False)
    x = (p * conditioning ** -uniform[:, None, 2 + VALUES :]) @ q
    values = spectrum(uniform[:, : 2 + VALUES])
    signal = (left * values[:, None]) @ _transposed(right) @ q
    y = signal + outside * (rest - rest @ _transposed(q) @ q)
    y = y + np.reshape(noise, (-1, 1, 1)) * rest
    regression = _reduce(x, y)
    left, values, right = np.linalg.svd(regression.target, full_matrices=False)
    change = np.broadcast_to(size, (trials, RANK))[..., None]
    a = near * right[:, :RANK] + change * a / COLUMNS**0.5
    b = near * values[:, :RANK, None] * (_transposed(left)[:, :RANK] + change * b / ROWS**0.5)
    top = right[:, :1]
    a = a - (1 - np.broadcast_to(overlap, trials))[:, None, None] * (a @ _transposed(top)) * top
    published = np.full(trials, RANK if near else 0, np.int32)
    parts = x, y, signal, regression, left, values, _transposed(right), Components(b, a)
    return jax.tree.map(jnp.asarray, Problem(*parts, published))


_SHAPES = (
    (ROWS, VALUES),  # left singular vectors
    (COLUMNS, VALUES),  # right singular vectors
    (COLUMNS, SAMPLES),  # inputs
    (ROWS, SAMPLES),  # noise
    (RANK, ROWS),  # first b
    (RANK, COLUMNS),  # first a
)


def _transposed(matrices: np.ndarray) -> np.ndarray:
    return np.swapaxes(matrices, 1, 2)


@jax.jit
def _reduce(x: jax.Array, y: jax.Array) -> Regression:
    return jax.vmap(Regression.from_data)(x, y)
