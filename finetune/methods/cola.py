"""COLA: a chain of LoRA, each link trained as an adapter of its own on the frozen ones before it.

Source: Xia et al. (2024), arXiv 2401.04151.
"""

from __future__ import annotations

import dataclasses

from finetune.adapters.method import Method, Run
from finetune.methods import option_texts as texts
from finetune.methods.links import RATES, ChainConfig, chained
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class ColaConfig(ChainConfig):
    """Settings of `cola`; those not named are those of `ChainConfig` and LoRA.

    Attributes:
      links: their number; the source has 2 to 3.
      rates: see `ChainConfig`; a link is a training of its own here, so it has its own schedule.
    """

    links: int = option(3, "number of adapters that are trained one after the other")
    rates: str = option("own", texts.RATES, RATES)

    def __post_init__(self):
        super().__post_init__()
        checks.integer("links", self.links, 1)


def cola(config: ColaConfig, run: Run) -> Method:
    """min over (a_k, b_k) of L(W + sum_{j<k} s a_j b_j + s a_k b_k), for k = 1, ..., K in turn.

    The steps are shared out equally, a rest goes to the first links. Every link has fresh factors
    and a fresh optimiser; the head, if it is trained, is trained throughout.

    Returns:
      A Method, see `links.chained`; exported as factors of rank K r.

    Raises:
      ValueError: fewer steps than links.

    Source: arXiv 2401.04151, section 3.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = cola(ColaConfig(rank=2), Run(OptimiserConfig(), 9))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> method.export(jnp.ones((3, 5)), theta["fc"], aux["fc"]).a.shape
      (3, 2)
    """
    if run.total < config.links:
        raise ValueError(f"links is {config.links}; allowed are at most {run.total}, the steps")
    each, rest = divmod(run.total, config.links)
    steps = tuple(each + (k < rest) for k in range(config.links))
    return chained("cola", config, run, steps, lambda key, state, fresh: fresh)
