"""AdaRankGrad: GaLore whose bases are as small as the gradients allow.

Source: Refael et al. (2024), arXiv 2410.17881. There is no released code; what the paper leaves
open is marked [choice].
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from finetune.adapters import projection
from finetune.adapters.method import Method, Run, Tree
from finetune.adapters.tables import each
from finetune.methods import option_texts as texts
from finetune.methods.galore import GaloreConfig, galore
from finetune.models.parts.ops import matmul
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class AdaRankGradConfig(GaloreConfig):
    """Settings of `adarankgrad`; those not named are GaLore's.

    Attributes:
      rank: the largest rank of a basis.
      least_rank: the smallest.
      residual: xi, what a basis may miss of the gradient it is taken from, by Frobenius norm.
      moments: "rotated" is the paper's. By default "squared": a clamped second moment of 0 beside a
        first one that is not gives steps of any size, on a small problem losses of 40 from 1.
      converged: a basis is also refreshed when its gradient's norm has fallen to this share of what
        it was at the last refresh; 0 never [choice].
      sketch: columns of the random sketch for each of `rank`; 0 for an exact SVD [choice].
    """

    rank: int = option(4, texts.LARGEST_RANK)
    least_rank: int = option(1, "smallest number of components of a module")
    residual: float = option(0.2, "share of the gradient that a basis may miss")
    moments: str = option("squared", texts.MOMENTS, projection.MOMENTS)
    converged: float = option(
        0.1, "share of the first norm of a projected gradient at which the basis is taken anew"
    )
    sketch: int = option(
        2, "number of columns of the random sketch per component; 0 takes an exact decomposition"
    )

    def __post_init__(self):
        super().__post_init__()
        checks.integer("least_rank", self.least_rank, 1, self.rank, why=", the rank")
        checks.integer("sketch", self.sketch, 0)
        for name in ("residual", "converged"):
            value = checks.real(name, getattr(self, name), "numbers in [0, 1)")
            if not 0 <= value < 1:
                raise ValueError(f"{name} is {value}; allowed are numbers in [0, 1)")


def adarankgrad(config: AdaRankGradConfig, run: Run) -> Method:
    """`galore` with, at each refresh, the least r such that ||G - P P^T G||_F < xi ||G||_F.

    r stays within least_rank..rank, and the columns of P (min(in, out), rank) from r on are 0, so
    that nothing is compiled anew. A basis is refreshed after `gap` steps or when ||P^T G|| has
    fallen to `converged` of what it was. Then m <- C m with C = P_new^T P_old, and v <- (C * C) v,
    or max(C v, 0) as in the paper.

    Returns:
      A Method as `galore`'s; aux[path] is {rank () int32}, the current r.

    Source: arXiv 2410.17881, algorithm 1; the randomised SVD is that of Halko et al. (2011).

    Example:
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = adarankgrad(AdaRankGradConfig(rank=2), Run(OptimiserConfig(), 10))
      >>> theta, aux = method.prepare(None, {"fc": jnp.ones((3, 5))}, None)
      >>> aux["fc"]["rank"].item()  # before the first gradient
      0
    """

    def length(basis, gradient):
        return jnp.linalg.norm(matmul(basis.T, gradient).astype(jnp.float32))

    def refresh_of(step, longest: int) -> projection.Refresh:
        # One draw for all modules: a generator in each of them takes long to compile.
        shape = (longest, config.sketch * config.rank)
        sample = jax.random.normal(jax.random.fold_in(jax.random.key(0), step), shape, jnp.float32)

        def renewed(gradient, state):
            options = {"least": config.least_rank, "residual": config.residual}
            own_sample = sample[: gradient.shape[1]] if config.sketch else None
            size = state["basis"].shape[1]
            basis = projection.adaptive(gradient, size, sample=own_sample, **options)
            own = {"norm": length(basis, gradient), "age": jnp.ones((), jnp.int32)}
            return projection.carried(state, basis, config.moments) | own

        def refresh(gradient, state):
            done = length(state["basis"], gradient) <= config.converged * state["norm"]
            due = (state["age"] >= config.gap) | done
            older = state | {"age": state["age"] + 1}
            return jax.lax.cond(due, renewed, lambda gradient, state: older, gradient, state)

        return refresh

    plain = galore(config, run)  # all but the refreshes
    more = {"norm": jnp.zeros((), jnp.float32), "age": jnp.asarray(config.gap, jnp.int32)}
    options = {"scale": config.update_scale, "raw_epsilon": config.raw_epsilon, "more": more}
    tx = projection.projected(run, refresh_of, config.rank, **options)

    def prepare(key, kernels, gradients):
        theta, _ = plain.prepare(key, kernels, gradients)
        return theta, {path: {"rank": jnp.zeros((), jnp.int32)} for path in theta}

    def post(theta: Tree, aux: Tree, opt: Tree, info):
        del aux, info

        def live(own):
            return {"rank": jnp.sum(jnp.any(own["basis"] != 0, axis=0), dtype=jnp.int32)}

        return theta, each(live, opt), opt

    return dataclasses.replace(
        plain,
        name="adarankgrad",
        prepare=prepare,
        tx=tx,
        post=post,
        ranks=lambda theta, aux: {path: entry["rank"] for path, entry in aux.items()},
    )
