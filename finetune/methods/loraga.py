"""LoRA-GA: factors from the first 2 r singular vectors of the gradient, taken off the base.

Source: Wang, Yu and Li (2024), arXiv 2407.05000, and its public code.
"""

from __future__ import annotations

import dataclasses

from finetune.adapters import offset
from finetune.adapters.factors import path_key
from finetune.adapters.method import Method, Run
from finetune.adapters.sampling import GradientOptions
from finetune.adapters.spectra import SVDS, leading, require_rank, subtracted
from finetune.methods import option_texts as texts
from finetune.methods.lora import LoraConfig
from rankwise import checks
from rankwise.options import option

DIRECTIONS = ("ArB2r", "A2rBr", "ArBr")
SCALINGS = ("stable", "unit")


@dataclasses.dataclass(frozen=True)
class LoraGaConfig(GradientOptions, LoraConfig):
    """Settings of `loraga`, the defaults those of the public code; and `GradientOptions`.

    Attributes:
      rank, alpha, stabilised: of LoRA; s = alpha / sqrt(r), as the authors advise.
      direction: which singular vectors: "ArB2r" a from the first r and b from the next r, "A2rBr"
        the other way round, "ArBr" in turn, b from the 1st, 3rd, ... and a from the 2nd, 4th, ...
      scaling: c, which both factors are multiplied by: "stable" out^(1/4) / sqrt(gamma), "unit" 1.
      gamma: see `scaling`.
      svd, svd_iterations: "randomised" is the public code's, on 4 r directions. It is no default:
        the exact vectors differ between machines by rounding only.
    """

    rank: int = option(8, texts.RANK)
    stabilised: bool = option(True, texts.STABILISED)
    direction: str = option(
        "ArB2r",
        "which singular vectors of the gradient each of the two factors starts from",
        DIRECTIONS,
    )
    scaling: str = option("stable", texts.SCALING, SCALINGS)
    gamma: float = option(16.0, texts.GAMMA)
    svd: str = option("exact", texts.SVD, SVDS)
    svd_iterations: int = option(4, texts.SVD_ITERATIONS)

    def __post_init__(self):
        LoraConfig.__post_init__(self)
        GradientOptions.__post_init__(self)
        checks.choice("direction", self.direction, DIRECTIONS)
        checks.choice("scaling", self.scaling, SCALINGS)
        checks.choice("svd", self.svd, SVDS)
        checks.integer("svd_iterations", self.svd_iterations, 0)
        checks.positive("gamma", self.gamma)


def loraga(config: LoraGaConfig, run: Run) -> Method:
    """y = x W + s (x a b - x a0 b0), a0 = c U_(1..r), b0 = c V_(r+1..2r)^T, G = U S V^T = dL/dW.

    The first step of plain descent moves W by -s^2 c^2 times the best approximation of G of rank
    2 r, per unit of the rate; with LoRA's start it is a random projection of G.

    Args:
      config: the settings.
      run: its optimiser trains both factors.

    Returns:
      A Method whose theta[path] is {a (in, r), b (r, out)}, float32 (float64 for float64 kernels),
      and whose aux[path] is {gain (r,), a0, b0}. It exports factors of rank 2 r. Its `prepare`
      raises ValueError where 2 r exceeds a side of a kernel.

    Source: arXiv 2407.05000, section 3 and theorem 3.2.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = loraga(LoraGaConfig(rank=1, scaling="unit"), Run(OptimiserConfig(), 10))
      >>> gradient = {"fc": jnp.diag(jnp.array([1.0, 3.0]))}
      >>> theta, _ = method.prepare(jax.random.key(0), {"fc": jnp.ones((2, 2))}, gradient)
      >>> theta["fc"]["a"].ravel().tolist(), theta["fc"]["b"].ravel().tolist()
      ([0.0, 1.0], [1.0, 0.0])
    """
    r = config.rank
    first, second = slice(0, r), slice(r, 2 * r)
    choices = (first, second), (second, first), (slice(1, 2 * r, 2), slice(0, 2 * r, 2))
    of_a, of_b = dict(zip(DIRECTIONS, choices, strict=True))[config.direction]

    def prepare(key, kernels, gradients):
        require_rank(r, kernels, times=2)
        theta = {}
        for path in sorted(kernels):
            own = path_key(key, path) if config.svd == "randomised" else None
            u, _, vt = leading(gradients[path], 2 * r, own, 4 * r, config.svd_iterations)
            c = multiplier(config.scaling, config.gamma, vt.shape[1])
            theta[path] = {"a": c * u[:, of_a], "b": c * vt[of_b]}
        return theta, subtracted(theta, config.scale)

    return Method(
        name="loraga",
        prepare=prepare,
        apply=offset.apply,
        lookup=offset.lookup,
        export=offset.export,
        tx=run.tx,
        needs_gradients=config,
    )


def multiplier(scaling: str, gamma: float, size_out: int) -> float:
    """c; the public code has the output's size for both factors."""
    return size_out**0.25 / gamma**0.5 if scaling == "stable" else 1.0
