"""Online choice of the rank: when are the components found so far enough?

A rule sees the sizes |R_k| of the components, largest first; those not found yet have size 0. A run
adds a component only while the rule wants `more`, and ends with the components that it `keep`s.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from deflation.problem.regression import Regression
from deflation.problem.targets import size
from rankwise import checks


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExplainedEnergy:
    """See `explained_energy`."""

    share: float | jax.Array

    def threshold(self, problem: Regression) -> jax.Array:
        """The size to explain: the root of the energy, which stays in the range of the dtype."""
        return jnp.sqrt(self.share) * size(problem.target)

    def more(self, threshold: jax.Array, sizes: jax.Array, count) -> jax.Array:
        """True while the components found do not explain enough."""
        del count
        return jnp.sqrt(jnp.sum(sizes**2)) < threshold

    def keep(self, threshold: jax.Array, sizes: jax.Array) -> jax.Array:
        """How many components of these sizes are needed; more than all if they do not do."""
        return 1 + jnp.sum(jnp.sqrt(jnp.cumsum(sizes**2)) < threshold)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """See `noise_floor`."""

    std: float | jax.Array | None

    def threshold(self, problem: Regression) -> jax.Array:
        """The largest singular value that noise alone reaches."""
        m, d = problem.shape
        std = self.std
        if std is None:
            std = problem.unexplained / jnp.sqrt(m * jnp.maximum(problem.freedom, 1))
        return std * (m**0.5 + d**0.5)

    def more(self, threshold: jax.Array, sizes: jax.Array, count) -> jax.Array:
        """True while all components found are above the floor."""
        return jnp.sum(jnp.cumprod(sizes > threshold)) >= count

    def keep(self, threshold: jax.Array, sizes: jax.Array) -> jax.Array:
        """The leading components above the floor, at least 1."""
        return jnp.maximum(1, jnp.sum(jnp.cumprod(sizes > threshold)))


Rule = ExplainedEnergy | NoiseFloor


def explained_energy(share: float = 0.99) -> ExplainedEnergy:
    """Stop adding components when sum_k ||R_k||^2 >= share ||Y P_X||^2.

    Args:
      share: part of the energy of Y that X can explain at all, in (0, 1].

    Raises:
      ValueError: share outside (0, 1].

    Example:
      >>> explained_energy(0.9).share
      0.9
    """
    checks.positive("share", share)
    if not checks.traced(share) and share > 1:
        raise ValueError(f"share is {share}; allowed are numbers in (0, 1]")
    return ExplainedEnergy(share)


def noise_floor(std: float | None = None) -> NoiseFloor:
    """Stop when a component is no larger than noise: ||R_k|| <= std (sqrt m + sqrt d).

    That is the edge of the singular values of an (m, d) matrix of independent N(0, std^2) entries,
    which is what noise in Y becomes in M, whatever X is.

    Args:
      std: standard deviation of the noise in Y. None estimates it from what X cannot explain,
        ||Y (I - P_X)||^2 / (m (n - rank X)), which needs n > rank X.

    Raises:
      ValueError: std <= 0.

    Source: Davidson and Szarek (2001) for the edge.

    Example:
      >>> noise_floor(0.1).std
      0.1
    """
    if std is not None:
        checks.positive("std", std)
    return NoiseFloor(std)


def check_rule(rule: Rule | None, problem: Regression) -> None:
    """Raises ValueError for a rule that this problem cannot answer."""
    if rule is None:
        return
    if not isinstance(rule, ExplainedEnergy | NoiseFloor):
        raise ValueError(
            f"grow is {checks.shown(rule)}; "
            "allowed are None, explained_energy(...) and noise_floor(...)"
        )
    estimates = isinstance(rule, NoiseFloor) and rule.std is None
    if estimates and not checks.traced(problem.freedom) and float(problem.freedom) < 1:
        raise ValueError(
            "std of noise_floor is None, which needs more samples than rank X; "
            "allowed here is a number"
        )
