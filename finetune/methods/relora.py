"""ReLoRA: a chain of adapters whose optimiser forgets most of its averages at each restart.

Source: Lialin et al. (2023), arXiv 2307.05695, and the released code.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from finetune.adapters.method import Method, Run
from finetune.methods.links import ChainConfig, chained
from rankwise import checks
from rankwise.options import option

PRUNINGS = ("random", "magnitude", "reset", "kept")


@dataclasses.dataclass(frozen=True)
class ReloraConfig(ChainConfig):
    """Settings of `relora`; those not named are those of `ChainConfig` and LoRA.

    Attributes:
      restart_every: steps of a link; None is a quarter of the run [choice]. The source takes 1000
        to 5000.
      pruning: what becomes of Adam's averages at a restart: a share of their entries becomes 0,
        drawn at "random" or those of least "magnitude", of each average on its own as in the
        released code, which keeps the step count; "reset" starts the optimiser anew, "kept" changes
        nothing.
      pruned: that share. The released code has .999 at random, and .8 to .9 by magnitude.
    """

    restart_every: int | None = option(
        None, "optimiser steps of a link; by default a quarter of the run"
    )
    pruning: str = option("random", "how Adam's averages are pruned at a restart", PRUNINGS)
    pruned: float = option(0.999, "share of Adam's averages that becomes 0 at a restart")

    def __post_init__(self):
        super().__post_init__()
        if self.restart_every is not None:
            checks.integer("restart_every", self.restart_every, 1)
        checks.choice("pruning", self.pruning, PRUNINGS)
        if not 0 <= checks.real("pruned", self.pruned, "numbers in [0, 1]") <= 1:
            raise ValueError(f"pruned is {self.pruned}; allowed are numbers in [0, 1]")

    def steps(self, total: int) -> tuple[int, ...]:
        """Steps of each link; the last may be shorter."""
        every = min(self.restart_every or max(total // 4, 1), total)
        short = total % every
        return (every,) * (total // every) + ((short,) if short else ())


def relora(config: ReloraConfig, run: Run) -> Method:
    """LoRA, restarted every `restart_every` steps: W <- W + s a b, a drawn anew, b = 0.

    The rate falls along the run's schedule and is warmed up again after each restart (with
    schedule "cosine" the paper's jagged cosine; its rate is twice that of full training). The head
    keeps its optimiser. Training all weights before the first restart is the caller's business:
    `finetune.studies.pretraining.pretraining` does it.

    Returns:
      A Method, see `links.chained`; the released code adds to W instead.

    Source: arXiv 2307.05695, algorithm 1.

    Example:
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = relora(ReloraConfig(rank=2, restart_every=4), Run(OptimiserConfig(), 10))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> aux["fc"]["a"].shape  # room for two finished links
      (3, 4)
    """

    def restart(key, state, fresh):
        if config.pruning == "kept":
            return state
        return fresh if config.pruning == "reset" else pruned(key, state, config)

    return chained("relora", config, run, config.steps(run.total), restart)


def pruned(key: jax.Array, state: optax.OptState, config: ReloraConfig) -> optax.OptState:
    """The optimiser's state with a share of the entries of Adam's averages set to 0."""

    def largest(leaf: jax.Array) -> jax.Array:
        size = jnp.abs(leaf)
        return jnp.where(size > jnp.quantile(size, config.pruned), leaf, 0)

    def averages(adam):
        if not isinstance(adam, optax.ScaleByAdamState):
            return adam
        both = (adam.mu, adam.nu)
        if config.pruning == "magnitude":
            first, second = jax.tree.map(largest, both)
        else:
            flat, unravel = jax.flatten_util.ravel_pytree(both)  # one draw compiles faster
            drawn = jax.random.uniform(key, flat.shape, jnp.float32)
            first, second = unravel(jnp.where(drawn >= config.pruned, flat, 0))
        return adam._replace(mu=first, nu=second)

    return jax.tree.map(averages, state, is_leaf=lambda s: isinstance(s, optax.ScaleByAdamState))
