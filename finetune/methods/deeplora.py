"""Deep LoRA: the change of a kernel is a product of three factors, none of which is scaled.

Full-width factors from a small orthogonal start move in few directions only, which the first
gradient shows; compressed, training is restricted to these.

Source: Yaras et al. (2024), arXiv 2406.04112, and its public code.
"""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters.deep_factors import FRAMES, chain, compressed, full, slower_frames
from finetune.adapters.factors import path_key
from finetune.adapters.method import Dense, Factors, Method, Run, Tree
from finetune.adapters.sampling import GradientOptions
from finetune.adapters.spectra import require_rank
from finetune.methods import option_texts as texts
from finetune.models.parts.ops import matmul
from finetune.optimiser import by_rate
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class DeepLoraConfig(GradientOptions):
    """Settings of `deeplora`; and `GradientOptions`.

    Attributes:
      rank: r, of the cores and frames; not read without `compressed`.
      depth: factors; compressed that many r x r cores between two frames.
      init_scale: eps, every factor's (core's) singular values at first.
      compressed: frames and cores; else full-width factors, three dense products per layer.
      frames: "gradient", the first r singular vectors of -dL/dW. "transported", the public code's:
        r / 2 of them (r even) and their images under a random orthogonal P, which is what those
        full-width factors are at first. The default has twice as many directions of the gradient
        in the same rank, and no draw.
      outer_rate: rate of the frames over that of the cores; 0 freezes them, the public default,
        while the published runs have 0.01.
    """

    rank: int = option(8, texts.RANK)
    depth: int = option(3, "number of factors whose product is the change of a kernel")
    init_scale: float = option(1e-3, "singular values of each factor when training begins")
    compressed: bool = option(
        True, "train small cores between frames from the gradient, not factors of full width"
    )
    frames: str = option("gradient", "where the frames point when training begins", FRAMES)
    outer_rate: float = option(
        0.01, "learning rate of the frames divided by that of the cores; 0 freezes the frames"
    )

    def __post_init__(self):
        super().__post_init__()
        checks.integer("rank", self.rank, 1)
        checks.integer("depth", self.depth, 2)
        checks.positive("init_scale", self.init_scale)
        checks.flag("compressed", self.compressed)
        checks.choice("frames", self.frames, FRAMES)
        checks.positive("outer_rate", self.outer_rate, zero=True)
        if self.compressed and self.frames == "transported" and self.rank % 2:
            raise ValueError(
                f"rank is {self.rank} with frames 'transported'; allowed are even ones"
            )


def deeplora(config: DeepLoraConfig, run: Run) -> Method:
    """y = x W + drop(x) F_1 ... F_L, or with frames + drop(x) left C_1 ... C_L right.

    F_l = eps Q_l with Q_l orthogonal of the kernel's larger side (of depth 2: F_1 ~ N(0, 1) and
    F_2 = 0, as the public code has it), C_l = eps I; no alpha / r. Nothing is taken off, so the
    network changes at first by a product of size eps^L, 1e-9.

    Args:
      config: the settings. run: its optimiser and rate, that of the cores.

    Returns:
      A Method whose theta[path] is {left (in, r), core (L, r, r), right (r, out)}, and exports
      factors of rank r; or {factor_1, ..., factor_L}, and a dense change. aux[path] is {}.

    Source: arXiv 2406.04112, equations 5 and 9; arXiv 2503.19859, section 2.

    Example:
      >>> import jax
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = deeplora(DeepLoraConfig(rank=1), Run(OptimiserConfig(), total=10))
      >>> gradient = {"fc": jnp.diag(jnp.array([1.0, 3.0]))}
      >>> theta, _ = method.prepare(jax.random.key(0), {"fc": jnp.ones((2, 2))}, gradient)
      >>> theta["fc"]["left"].ravel().tolist(), theta["fc"]["core"].shape
      ([0.0, 1.0], (3, 1, 1))
    """

    c = config

    def prepare(key, kernels, gradients):
        theta = {}
        if c.compressed:
            require_rank(c.rank, kernels)
        for path in sorted(kernels):
            own, kernel = path_key(key, path), kernels[path]
            if c.compressed:
                made = compressed(own, gradients[path], c.rank, c.depth, c.init_scale, c.frames)
            else:
                dtype = jnp.promote_types(kernel.dtype, jnp.float32)
                made = full(own, kernel.shape, c.depth, c.init_scale, dtype)
            theta[path] = made
        return theta, {path: {} for path in theta}

    def apply(x, kernel, theta, aux, drop):
        del aux
        return matmul(x, kernel) + functools.reduce(matmul, chain(theta), drop(x))

    def export(kernel, theta, aux):
        del kernel, aux
        *first, last = map(np.asarray, chain(theta))
        inner = functools.reduce(np.matmul, first)
        return Factors(inner, last) if c.compressed else Dense(inner @ last)

    def ranks(theta, aux):
        del aux
        sizes = {p: (f[0].shape[0], f[1].shape[0], f[-1].shape[1]) for p, f in _chains(theta)}
        return {path: jnp.asarray(min(size), jnp.int32) for path, size in sizes.items()}

    return Method(
        name="deeplora",
        prepare=prepare,
        apply=apply,
        export=export,
        tx=optax.chain(run.direction, slower_frames(c.outer_rate), by_rate(run.rate)),
        ranks=ranks,
        needs_gradients=config if c.compressed else None,
    )


def _chains(theta: Tree):
    return ((path, chain(leaves)) for path, leaves in theta.items())
