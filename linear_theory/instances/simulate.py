"""The regression problems Y = W X + E of claims, figures, notebooks and the benchmark.

Legend: X (d, n) inputs, Y (m, n) targets, W (m, d) the map, E (m, n) noise; Y = W X + E.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

DESIGNS = ("column", "row", "gauss", "orthonormal", "identity")
SPECTRA = ("uniform", "exponential", "power", "geometric", "harmonic", "random")


@dataclasses.dataclass(frozen=True)
class Noise:
    """Additive noise: every entry is N(0, std^2), kept with probability `density`.

    `density=1` is Gaussian noise; the sequential paper's sparse noise has `density=0.05`.
    """

    std: float | jax.Array = 0.0
    density: float = 1.0

    def __post_init__(self):
        # A traced level (vmap over noise) cannot be looked at.
        if isinstance(self.std, int | float) and not self.std >= 0:
            raise ValueError(f"std of the noise is {self.std}; allowed are numbers >= 0")
        if not 0 < self.density <= 1:
            raise ValueError(f"density of the noise is {self.density}; allowed is (0, 1]")


class Simulation(NamedTuple):
    """A drawn problem: x (d, n), y (m, n) = truth x + noise, truth (m, d), noise (m, n)."""

    x: jax.Array
    y: jax.Array
    truth: jax.Array
    noise: jax.Array


def spectrum(
    name: str, rank: int, *, key: jax.Array | None = None, ratio: float = 0.5
) -> jax.Array:
    """Singular values of a named profile, largest first, shape (rank,).

    uniform: 10. exponential: geometric from 100 to 1. power: 100 k^-2 (these three are the
    sequential paper's, arXiv 2505.22602 section 5). geometric: ratio^(k-1). harmonic: 1/k.
    random: sorted uniform gaps, needs a key; the top value is 1.

    Raises:
      ValueError: for an unknown name, or "random" without a key.

    Example:
      >>> spectrum("geometric", 3).tolist()
      [1.0, 0.5, 0.25]
    """
    k = jnp.arange(1, rank + 1, dtype=float)
    if name == "uniform":
        return jnp.full(rank, 10.0)
    if name == "exponential":
        return jnp.geomspace(100.0, 1.0, rank)
    if name == "power":
        return 100.0 * k**-2
    if name == "geometric":
        return ratio ** (k - 1)
    if name == "harmonic":
        return 1.0 / k
    if name == "random" and key is not None:
        # Partial sums of gaps in (0.2, 1.2): distinct, with gaps of comparable size.
        values = jnp.cumsum(jax.random.uniform(key, (rank,), minval=0.2, maxval=1.2))[::-1]
        return values / values[0]
    raise ValueError(f"spectrum is {name!r}; allowed are {SPECTRA} ('random' needs a key)")


def orthonormal(key: jax.Array, rows: int, columns: int, dtype=None) -> jax.Array:
    """A Haar-random (rows, columns) matrix with orthonormal columns; rows >= columns."""
    gauss = jax.random.normal(key, (rows, columns), dtype or jnp.zeros(()).dtype)
    q, r = jnp.linalg.qr(gauss)
    return q * jnp.sign(jnp.diagonal(r))


def matrix_with_spectrum(key: jax.Array, m: int, d: int, values: jax.Array) -> jax.Array:
    """A random (m, d) matrix U diag(values) V^T, Haar factors, at most min(m, d) values."""
    key_u, key_v = jax.random.split(key)
    rank = values.shape[-1]
    left = orthonormal(key_u, m, rank, values.dtype)
    right = orthonormal(key_v, d, rank, values.dtype)
    return (left * values) @ right.T


def design_matrix(key: jax.Array, d: int, n: int, design: str, dtype=None) -> jax.Array:
    """Inputs X (d, n) of a named design.

    gauss: N(0, 1). column: gauss with unit columns. row: gauss with unit rows.
    orthonormal: X X^T = I (needs d <= n). identity: X = I (needs d == n).

    Raises:
      ValueError: for an unknown design or sizes that it does not allow.
    """
    dtype = dtype or jnp.zeros(()).dtype
    if design == "identity":
        if d != n:
            raise ValueError(f"n is {n} under design='identity'; allowed is n == d == {d}")
        return jnp.eye(d, dtype=dtype)
    if design == "orthonormal":
        if d > n:
            raise ValueError(f"n is {n} under design='orthonormal'; allowed is n >= d == {d}")
        return orthonormal(key, n, d, dtype).T
    gauss = jax.random.normal(key, (d, n), dtype)
    if design == "gauss":
        return gauss
    if design == "column":
        return gauss / jnp.linalg.norm(gauss, axis=0, keepdims=True)
    if design == "row":
        return gauss / jnp.linalg.norm(gauss, axis=1, keepdims=True)
    raise ValueError(f"design is {design!r}; allowed are {DESIGNS}")


def simulate(
    key: jax.Array,
    m: int,
    d: int,
    n: int,
    rank: int,
    spectrum: str | jax.Array = "exponential",
    design: str = "column",
    noise: Noise | float | jax.Array = 0.0,
) -> Simulation:
    """Draws Y = W X + E with W = U diag(s) V^T.

    Args:
      key: a typed JAX key. X, the factors of W and E come from keys of their own, so that two calls
        that differ in `noise` alone share X and W.
      m, d, n: rows of Y, rows of X, columns.
      rank: rank of W, at most min(m, d).
      spectrum: the singular values of W: a name (see `spectrum`) or an array of shape (rank,).
      design: see `design_matrix`.
      noise: standard deviation, or a `Noise`.

    Returns:
      A Simulation, in the default float type.

    Raises:
      ValueError: for a rank outside 1..min(m, d), no columns, or an unknown name.

    Source: protocol of arXiv 2505.22602 section 5.

    Example:
      >>> import jax
      >>> simulate(jax.random.key(0), m=4, d=5, n=9, rank=2, spectrum="harmonic").y.shape
      (4, 9)
    """
    if not 1 <= rank <= min(m, d):
        raise ValueError(f"rank is {rank}; allowed are integers from 1 to min(m, d) = {min(m, d)}")
    if n < 1:
        raise ValueError(f"n is {n}; allowed are integers >= 1")
    noise = noise if isinstance(noise, Noise) else Noise(noise)
    key_x, key_map, key_spectrum, key_noise, key_mask = jax.random.split(key, 5)
    values = _values(spectrum, rank, key_spectrum)
    x = design_matrix(key_x, d, n, design, values.dtype)
    truth = matrix_with_spectrum(key_map, m, d, values)
    error = noise.std * jax.random.normal(key_noise, (m, n), values.dtype)
    if noise.density < 1:
        error = error * jax.random.bernoulli(key_mask, noise.density, (m, n))
    return Simulation(x, truth @ x + error, truth, error)


def _values(profile, rank: int, key: jax.Array) -> jax.Array:
    if isinstance(profile, str):
        return spectrum(profile, rank, key=key)
    values = jnp.asarray(profile)
    if values.shape != (rank,):
        raise ValueError(f"spectrum has shape {values.shape}; allowed is ({rank},)")
    return values.astype(jnp.zeros(()).dtype)
