"""What the experiments share: sizes, seeds, the problem of a trial, and the solver of the paper.

Legend: X (d, n) inputs, W (m, d) the true map of rank r, Y = W X + E (m, n); N trials, which share
X and W and differ in first factors and noise.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Components, Regression, gradient_descent
from deflation.solvers.gradient_descent import GradientDescent
from linear_theory.instances.simulate import DESIGNS, Noise, Simulation, simulate
from linear_theory.instances.simulate import spectrum as profile

STEPS = ("fixed", "auto")
STEP_SIZE = 0.003  # for unit columns of X; the edge of divergence in the published setting


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes, seed and conditions of an experiment; the defaults are the published ones.

    Attributes:
      m, d, n: rows of Y, rows of X, columns.
      rank: rank r of the true map, and number of components unless an experiment says otherwise.
      trials: N, runs that differ in first factors and noise.
      seed: of all randomness.
      design: how X is drawn, one of `simulate.DESIGNS`.
      step: of gradient descent, "fixed" or "auto" (adapted to the curvature at every iteration).
        Fixed is 0.003 for unit columns; other designs get the step with the same product with the
        mean squared column norm, so that it is their shape that is compared and not their scale.

    Raises:
      ValueError: for an unknown design or step, or trials < 1.

    Source: arXiv 2505.22602 section 5 and its released code, which has these sizes (the text has
    500 x 1000), 5 trials, and columns of X scaled to unit norm.
    """

    m: int = 100
    d: int = 200
    n: int = 500
    rank: int = 20
    trials: int = 5
    seed: int = 42
    design: str = "column"
    step: str = "fixed"

    def __post_init__(self):
        if self.design not in DESIGNS:
            raise ValueError(f"design is {self.design!r}; allowed are {DESIGNS}")
        if self.step not in STEPS:
            raise ValueError(f"step is {self.step!r}; allowed are {STEPS}")
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}; allowed are integers >= 1")

    @property
    def solver(self) -> GradientDescent:
        """Simultaneous gradient descent in b and a, arXiv 2505.22602 equation (5)."""
        energy = {"column": self.n, "gauss": self.d * self.n}.get(self.design, self.d)
        size = STEP_SIZE * self.n / energy if self.step == "fixed" else None
        return gradient_descent(size, coordinates="original")

    def draw(self, spectrum="exponential") -> Simulation:
        """X and W of every trial, without noise; a named spectrum or one of shape (r,)."""
        if isinstance(spectrum, str):
            spectrum = profile(spectrum, self.rank, key=_key(self, 4))
        sizes = (self.m, self.d, self.n, self.rank)
        return _draw(_key(self, 0), sizes, jnp.asarray(spectrum), self.design)

    def first_factors(self) -> Components:
        """The paper's first factors a = 0, b ~ N(0, I/m): (N, r, m) and (N, r, d)."""
        shape = (self.trials, self.rank)
        b = jax.random.normal(_key(self, 1), (*shape, self.m)) / self.m**0.5
        return Components(b, jnp.zeros((*shape, self.d)))

    def noise(self, density: float = 1.0, draw: int = 0) -> jax.Array:
        """Noise of unit standard deviation for every trial, (N, m, n); scale it to a level.

        Another `draw` is independent of this one.
        """
        keys = jax.random.split(jax.random.fold_in(_key(self, 2), draw), self.trials)
        return _noise(keys, (self.m, self.d, self.n, self.rank), density)

    def trial_keys(self) -> jax.Array:
        """A random key for every trial, (N,)."""
        return jax.random.split(_key(self, 3), self.trials)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _draw(key: jax.Array, sizes: tuple, values: jax.Array, design: str) -> Simulation:
    return simulate(key, *sizes, values, design)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _noise(keys: jax.Array, sizes: tuple, density: float) -> jax.Array:
    # The compiler drops the problem that is drawn along with the noise.
    return jax.lax.map(lambda key: simulate(key, *sizes, noise=Noise(1.0, density)).noise, keys)


def _key(setting: Setting, purpose: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(setting.seed), purpose)


def normalised(name: str, rank: int) -> jax.Array:
    """A named profile scaled to sum_k s_k^2 = r, so that ||W||_F = sqrt(r) for every profile.

    Source: the released code of arXiv 2505.22602, Figures 5, 6 and 10.
    """
    values = profile(name, rank)
    return values * jnp.sqrt(rank / jnp.sum(values**2))


@jax.jit
def reduced(x: jax.Array, y: jax.Array) -> Regression:
    """The problem of x (d, n) with each of the targets y (N, m, n), stacked along a first axis."""
    return jax.vmap(Regression.from_data, in_axes=(None, 0))(x, y)


def float64(experiment: Callable[..., dict]) -> Callable[..., dict[str, np.ndarray]]:
    """The experiment in double precision, its arrays handed over as numpy arrays."""

    @functools.wraps(experiment)
    def measured(*args, **kwargs):
        with jax.enable_x64(True):
            return {name: np.asarray(value) for name, value in experiment(*args, **kwargs).items()}

    return measured
