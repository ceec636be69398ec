"""Parallel deflation: every component is a worker with a loss of its own, all trained at once.

Worker k minimises the task's loss of the network with its predecessors held constant, as they were
published at the start of the step (`levels`). Errors of a predecessor are corrected as it improves.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from finetune.adapters import factors, levels
from finetune.adapters.by_component import by_component
from finetune.adapters.late import LateOptions
from finetune.adapters.method import Gradients, Method, Run, Tree
from finetune.adapters.tables import each
from finetune.methods import option_texts as texts
from finetune.optimiser import Rate, by_rate
from finetune.ranks.deployed import deployed
from rankwise import checks
from rankwise.options import option

WAYS = ("in_turn", "batched")


@dataclasses.dataclass(frozen=True)
class ParallelConfig(LateOptions):
    """Settings of `parallel`; and `LateOptions`.

    Attributes:
      rank: R, components of every module.
      scale: s, of every component. Constant: a scale that fell with the rank would change what
        converged predecessors contribute.
      std: standard deviation of the first a_k; b_k = 0. With init "gradient" it is not read.
      stagger: steps between joining workers, and from joining to being published; 0 publishes all
        components from the first step.
      advance: workers that have not joined yet train in private.
      way: see `levels.every`; how the levels are computed on one device.
    """

    rank: int = option(4, texts.RANK)
    scale: float = option(1.0, texts.SCALE)
    std: float = option(0.02, texts.STD)
    stagger: int = option(
        1, "optimiser steps between joining workers; 0 publishes all components at once"
    )
    advance: bool = option(True, texts.ADVANCE)
    way: str = option("in_turn", texts.WAY, WAYS)

    def __post_init__(self):
        super().__post_init__()
        checks.integer("rank", self.rank, 1)
        checks.positive("scale", self.scale)
        checks.positive("std", self.std)
        checks.integer("stagger", self.stagger, 0)
        checks.choice("way", self.way, WAYS)

    def published(self, step) -> jax.Array:
        """Components published at the start of step t, min((t + tau) // (stagger + tau), R).

        The next one joins when it sees the one before it, tau = staleness steps after that was
        published; before, it would learn the same component once more.
        """
        if not self.stagger:
            return jnp.asarray(self.rank, jnp.int32)
        late = self.staleness
        return jnp.minimum((step + late) // (self.stagger + late), self.rank).astype(jnp.int32)

    def at(self, step, aux: Tree) -> Tree:
        """aux with the components that are published, and train in private, at the start of t."""
        published = self.published(step)
        aux = levels.with_rank(aux, published)
        if self.advance or not self.stagger:
            return aux
        joined = step // (self.stagger + self.staleness) + 1
        private = (joined > published).astype(jnp.int32)
        return each(lambda entry: {**entry, "private": private}, aux)


def parallel(config: ParallelConfig, run: Run) -> Method:
    """In step t, all k at once: one optimiser step on (a_k, b_k) of

        L(W + s sum_{j<k, j published} sg(a_j b_j) + s a_k b_k)

    For a squared loss on one linear layer and plain descent this is
    `deflation.parallel(gradient_descent(step_size, coordinates="original"))`.

    The head's gradient is that of the deployed network, the one with all published components: it
    is what is evaluated and saved, and one pass more than the levels need. Every level's own
    gradient of the head would be R different answers.

    Args:
      config: the settings.
      run: each (a_k, b_k) of each module has its own state of the optimiser, whose age is the
        number of steps that it was trained; the clip is of each worker's gradient; a mesh with an
        axis "level" has the levels dealt out on it.

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out)}, aux as in `levels`.

    Raises:
      ValueError: too few steps for all components to be published.

    Source: arXiv 2502.17615, Algorithm 1; arXiv 2605.10741 (AdaPaD).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = parallel(ParallelConfig(rank=2), Run(OptimiserConfig(), 10))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> theta["fc"]["b"].shape, int(aux["fc"]["rank"])
      ((2, 5), 0)
    """

    last = config.rank * (config.stagger + config.staleness) - config.staleness
    if config.stagger and not checks.traced(run.total) and last > run.total:
        late = f" and staleness {config.staleness}" if config.staleness else ""
        raise ValueError(
            f"stagger is {config.stagger} with rank {config.rank}{late}; "
            f"allowed are at most {run.total} steps until all are published"
        )

    def prepare(key, kernels, gradients):
        theta = config.first(key, kernels, gradients, config.rank, config.std, config.scale)
        private = config.rank if config.advance else 1
        first = 0 if config.stagger else config.rank
        return theta, config.begun(theta, levels.initial(theta, config.scale, first, private))

    def grads(objective, theta, aux, head, step, key):
        del step, key
        now = levels.Snapshot(objective, theta, aux, head)
        result = deployed(now, trained=False)
        own = levels.every(config.seen(now), run.optimiser.clip, config.way, run.level_mesh)
        active = each(levels.trainable, aux)
        info = {"active": active, "levels": own.loss}
        return Gradients(result.loss, own.theta, result.head, info)

    def post(theta, aux, opt, info):
        return theta, config.moved(theta, config.at(info.step + 1, aux)), opt

    return assembled("parallel", prepare, grads, post, run.direction, run.rate, config.of_gradient)


def assembled(name: str, prepare, grads, post, direction, rate: Rate, of_gradient=None) -> Method:
    """A Method whose components have their own optimisers; `of_gradient` as `needs_gradients`."""
    return Method(
        name=name,
        prepare=prepare,
        apply=factors.apply,
        lookup=factors.lookup,
        export=factors.export,
        tx=optax.chain(by_component(direction), by_rate(rate)),
        grads=grads,
        post=post,
        own_clipping=True,
        needs_gradients=of_gradient,
    )
