"""PiSSA: the trained factors start as the leading part of the kernel itself.

Source: Meng et al. (2024), arXiv 2404.02948, with the conventions of PEFT's implementation.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from finetune.adapters import factors, offset
from finetune.adapters.method import Method, Run
from finetune.methods.lora import LoraConfig
from finetune.models.parts.ops import matmul
from rankwise import checks
from rankwise.options import option

WAYS = ("exact", "randomised")
EXTRA = 8
"""Columns of the randomised basis beyond r [choice]: PEFT's has none, and then needs hundreds of
iterations where S_r and S_{r+1} are close."""


@dataclasses.dataclass(frozen=True)
class PissaConfig(LoraConfig):
    """Settings of `pissa`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
      svd: how the leading part is found; "randomised" costs less for large kernels and finds it
        nearly. The network starts unchanged either way.
      svd_iterations: subspace iterations of "randomised" [choice].
    """

    svd: str = option("exact", "how the leading part of the kernel is found", WAYS)
    svd_iterations: int = option(4, "number of subspace iterations of --svd=randomised")

    def __post_init__(self):
        super().__post_init__()
        checks.choice("svd", self.svd, WAYS)
        checks.integer("svd_iterations", self.svd_iterations, 0)


def pissa(config: PissaConfig, run: Run) -> Method:
    """y = x W + s (drop(x) a) b - s (x a0) b0 with s a0 b0 the best rank-r part of W.

    For W = U S V^T: a0 = U_r (S_r / s)^(1/2), b0 = (S_r / s)^(1/2) V_r^T, in every column of U the
    largest entry > 0. Training starts at a = a0, b = b0, bit for bit: the offset is formed from the
    stored factors, whatever the precision of the activations.

    Args:
      config: the settings.
      run: its optimiser trains both factors.

    Returns:
      A Method; theta[path] is {a (in, r), b (r, out)}, float32 (float64 for float64 kernels), and
      aux[path] {gain (r,), a0, b0}. Exports are Factors of rank 2 r, [s a, -s a0] [b; b0].
      `prepare` raises ValueError for a rank above the smaller side of a kernel.

    Source: arXiv 2404.02948, eqs. 2 to 4; the scale inside the roots is PEFT's.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = pissa(PissaConfig(rank=1, alpha=1.0), Run(OptimiserConfig(), 10))
      >>> kernels = {"fc": jnp.diag(jnp.array([4.0, 1.0]))}
      >>> theta, _ = method.prepare(jax.random.key(0), kernels, None)
      >>> theta["fc"]["a"].tolist(), theta["fc"]["b"].tolist()
      ([[2.0], [0.0]], [[2.0, 0.0]])
    """

    def prepare(key, kernels, gradients):
        del gradients
        theta, aux = {}, {}
        for path in sorted(kernels):
            kernel = kernels[path]
            why = f" (the smaller side of {path})"
            checks.integer("rank", config.rank, 1, min(kernel.shape), why=why)
            wide = kernel.astype(jnp.promote_types(kernel.dtype, jnp.float32))
            a, b = _leading(config, wide, factors.path_key(key, path))
            theta[path] = {"a": a, "b": b}
            gain = jnp.full((config.rank,), config.scale, a.dtype)
            aux[path] = {"gain": gain, "a0": a, "b0": b}
        return theta, aux

    return Method(
        name="pissa",
        prepare=prepare,
        apply=offset.apply,
        lookup=offset.lookup,
        export=offset.export,
        tx=run.tx,
    )


def _leading(config: PissaConfig, kernel: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a0 and b0."""
    if config.svd == "exact":
        u, s, vt = jnp.linalg.svd(kernel, full_matrices=False)
    else:
        width = min(config.rank + EXTRA, *kernel.shape)
        draw = jax.random.normal(key, (kernel.shape[1], width), kernel.dtype)
        basis = jnp.linalg.qr(matmul(kernel, draw))[0]
        for _ in range(config.svd_iterations):
            # Orthonormal in between: powers of W alone would lose the smaller directions.
            basis = jnp.linalg.qr(matmul(kernel.T, basis))[0]
            basis = jnp.linalg.qr(matmul(kernel, basis))[0]
        u, s, vt = jnp.linalg.svd(matmul(basis.T, kernel), full_matrices=False)
        u = matmul(basis, u)
    u, s, vt = u[:, : config.rank], s[: config.rank], vt[: config.rank]
    # Backends differ in the signs of singular vectors.
    pivot = jnp.take_along_axis(u, jnp.argmax(jnp.abs(u), axis=0)[None], axis=0)[0]
    root = jnp.sqrt(s / config.scale)
    sign = jnp.where(pivot < 0, -root, root)
    return u * sign, sign[:, None] * vt
