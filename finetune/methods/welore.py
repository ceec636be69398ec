"""WeLore: kernels of low rank are replaced by their factors and trained, the others are frozen.

Source: Jaiswal et al. (2024), arXiv 2407.11239, and the released code.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Dense, Drop, Leaves, Method, Run, Tree
from finetune.models.parts.ops import matmul
from finetune.ranks import global_ranks
from rankwise import checks
from rankwise.options import option

KEEP = 0.5


@dataclasses.dataclass(frozen=True)
class WeloreConfig:
    """Settings of `welore`.

    Attributes:
      cut: below it normalised singular values are dropped; None finds it from `keep`. For
        Llama-2-7B the authors take .0225 to .21, .135 for half of the ranks.
      keep: share of the adapted kernels' parameters to keep at most; .5 if neither is given.
      drop_share: share of its singular values that a kernel must lose to be factored and trained;
        the released code's. A kernel in factors is always the smaller one for .5 or more.
    """

    cut: float | None = option(
        None, "drop normalised singular values below this number; by default as --keep asks"
    )
    keep: float | None = option(
        None, "share of the parameters to keep in place of --cut; by default 0.5"
    )
    drop_share: float = option(
        0.4999, "share of the singular values that a kernel must lose to be factored and trained"
    )

    def __post_init__(self):
        if self.cut is not None and self.keep is not None:
            raise ValueError(f"keep is {self.keep} beside a cut; allowed is one of them")
        for name in ("cut", "keep", "drop_share"):
            value = getattr(self, name)
            if value is not None and not 0 <= checks.real(name, value, "numbers in [0, 1]") <= 1:
                raise ValueError(f"{name} is {value}; allowed are numbers in [0, 1]")


def welore(config: WeloreConfig, run: Run) -> Method:
    """y = (drop(x) u) v with u = U sqrt(S), v = sqrt(S) V^T of the leading singular triples of W.

    A kernel's singular values are normalised, (s - min) / (max - min), and those below one cut
    for all kernels are dropped. A kernel that loses more than `drop_share` of them is
    replaced by its factors, of its own rank; the others stay as they are and are not trained.

    Returns:
      A Method; theta has the replaced modules only, {u (in, k), v (k, out)}, float32 (float64 for
      float64 kernels). `apply` does not read the kernel. Exported as the dense change u v - W, for
      a merged checkpoint: as an adapter it would have nearly full rank.

    Raises:
      ValueError: (by `prepare`) no kernel loses enough.

    Source: arXiv 2407.11239, section 3.

    Example:
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = welore(WeloreConfig(cut=0.5), Run(OptimiserConfig(), 10))
      >>> kernels = {"fc": jnp.diag(jnp.array([8.0, 1.0, 0.0])), "out": jnp.eye(3)}
      >>> theta, aux = method.prepare(None, kernels, None)
      >>> {path: leaves["u"].shape for path, leaves in theta.items()}
      {'fc': (3, 1)}
    """

    def ranks(theta: Tree, aux: Tree) -> Leaves:
        del aux
        return {path: jnp.asarray(t["u"].shape[1], jnp.int32) for path, t in theta.items()}

    def prepare(key, kernels, gradients) -> tuple[Tree, Tree]:
        del key, gradients
        wide = {path: np.asarray(kernels[path], np.float64) for path in sorted(kernels)}
        parts = {path: np.linalg.svd(kernel, full_matrices=False) for path, kernel in wide.items()}
        values = {path: part.S for path, part in parts.items()}
        shapes = {path: kernel.shape for path, kernel in wide.items()}
        if config.cut is not None:
            ranks = global_ranks.at(values, config.cut, config.drop_share)
        else:
            keep = KEEP if config.keep is None else config.keep
            ranks = global_ranks.within(values, shapes, keep, config.drop_share)
        theta = {}
        for path, rank in ranks.items():
            dtype = jnp.promote_types(kernels[path].dtype, jnp.float32)
            left, values, right = parts[path]
            root = np.sqrt(values[:rank])
            u, v = left[:, :rank] * root, root[:, None] * right[:rank]
            theta[path] = {"u": jnp.asarray(u, dtype), "v": jnp.asarray(v, dtype)}
        return theta, {path: {} for path in theta}

    functions = {"apply": apply, "lookup": lookup, "export": export, "ranks": ranks}
    return Method(name="welore", prepare=prepare, tx=run.tx, **functions)


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """(drop(x) u) v: the factors are the kernel."""
    return matmul(matmul(drop(x), theta["u"]), theta["v"])


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of u v."""
    return matmul(theta["u"].astype(table.dtype)[ids], theta["v"])


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Dense:
    """u v - W, which a merged checkpoint adds to W."""
    product = np.asarray(theta["u"], np.float64) @ np.asarray(theta["v"], np.float64)
    return Dense((product - np.asarray(kernel, np.float64)).astype(theta["u"].dtype))
