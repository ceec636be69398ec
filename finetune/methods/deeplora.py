"""Deep LoRA: the change of a kernel is a product of three factors, none of which is scaled.

Full-width factors from a small orthogonal start move in few directions only, which the first
gradient shows; compressed, training is restricted to these.

Source: Yaras et al. (2024), arXiv 2406.04112, and its public code.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import optax

from finetune.methods.deep_factors import chain, compressed, full, slower_frames
from finetune.methods.deeplora_settings import DeepLoraConfig
from finetune.methods.factors import path_key
from finetune.methods.method import Dense, Factors, Method, Run, Tree
from finetune.methods.spectra import require_rank
from finetune.models.ops import matmul
from finetune.training.optimisers import by_rate


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
      >>> from finetune.training.optimisers import OptimiserConfig
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
