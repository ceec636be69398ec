"""GaLore: all of a matrix is trained, its optimiser in the leading subspace of its gradient.

Source: Zhao et al. (2024), arXiv 2403.03507, algorithm 2, and the released optimiser.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from finetune.adapters import projection
from finetune.adapters.method import Leaves, Method, Run, Tree
from finetune.methods import option_texts as texts
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class GaloreConfig:
    """Settings of `galore`.

    Attributes:
      rank: r, of every basis; at most the smaller side of a kernel is used.
      gap: steps between refreshes of the bases.
      update_scale: s; the authors take .25 for pre-training and 4 on GLUE.
      moments: what becomes of Adam's averages at a refresh, see `projection.carried`. "kept" is the
        released code's, whose averages then belong to a basis that is gone.
      raw_epsilon: Adam's epsilon beside the root of the uncorrected average, as in the released
        code. By default beside that of the corrected one, as in the paper and as all other methods
        of this program have it, so that they differ in the projection alone.
      decay_base: weight decay draws W + delta to 0, as in the released code; else delta alone.
    """

    rank: int = option(4, texts.RANK)
    gap: int = option(200, "optimiser steps between refreshes of the bases at most")
    update_scale: float = option(0.25, "scale that the projected update is multiplied by")
    moments: str = option("kept", texts.MOMENTS, projection.MOMENTS)
    raw_epsilon: bool = option(
        False, "add Adam's epsilon beside the root of the uncorrected average"
    )
    decay_base: bool = option(True, "let weight decay act on the base too, not on the change alone")

    def __post_init__(self):
        checks.integer("rank", self.rank, 1)
        checks.integer("gap", self.gap, 1)
        checks.positive("update_scale", self.update_scale)
        checks.choice("moments", self.moments, projection.MOMENTS)
        checks.flag("raw_epsilon", self.raw_epsilon)
        checks.flag("decay_base", self.decay_base)


def galore(config: GaloreConfig, run: Run) -> Method:
    """y = x (W + delta) with delta <- delta - eta s P rho(P^T G), G = dL/dW (in, out).

    P (min(in, out), r) are the leading singular vectors of G on its smaller side (`in` where they
    are equal), taken anew in every step divisible by `gap`; rho is Adam on P^T G, or with the
    optimiser "sgd" the identity.

    Memory of a kernel, in numbers: the optimiser's r (2 max(in, out) + min(in, out)) in place of
    Adam's 2 in out. But delta and G are dense, in out each, beside the base, which is not changed;
    training the kernel itself would save delta, and lose the base.

    optax.contrib.galore is not used: it projects the larger side (a larger basis, smaller moments,
    other updates than the released code's), leaves the signs of the basis to the SVD, cannot carry
    the moments over, counts its own steps, and decays only what it is handed, here delta.

    Returns:
      A Method; theta[path] is {delta (in, out)}, float32 (float64 for float64 kernels), exported as
      a dense change.

    Source: arXiv 2403.03507, (12) and algorithm 2; where the released code differs, it is followed,
    but for `raw_epsilon`.

    Example:
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = galore(GaloreConfig(rank=2), Run(OptimiserConfig(), 10))
      >>> theta, aux = method.prepare(None, {"fc": jnp.ones((3, 5))}, None)
      >>> state = method.tx.init(theta)
      >>> state["fc"]["basis"].shape, state["fc"]["first"].shape
      ((3, 2), (2, 5))
    """

    def refresh_of(step, longest: int) -> projection.Refresh:
        del longest

        def renewed(gradient, state):
            basis = projection.leading(gradient, state["basis"].shape[1])
            return projection.carried(state, basis, config.moments)

        due = step % config.gap == 0
        return lambda *of: jax.lax.cond(due, renewed, lambda gradient, state: state, *of)

    tx = projection.projected(
        run, refresh_of, config.rank, scale=config.update_scale, raw_epsilon=config.raw_epsilon
    )

    def ranks(theta: Tree, aux: Tree) -> Leaves:
        del aux
        return {
            path: jnp.asarray(min(config.rank, *leaves["delta"].shape), jnp.int32)
            for path, leaves in theta.items()
        }

    return projection.assembled("galore", run, tx, config.decay_base, ranks=ranks)
