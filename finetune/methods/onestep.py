"""One step along the first gradient, and no training of adapters at all.

Source: Zhang, Liu and Chen (2025), arXiv 2502.01235, its comparison with one full gradient step;
the grid of steps is that of the public code, where the call is commented out.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters import factors
from finetune.adapters.method import Dense, Gradients, Method, Run
from finetune.adapters.sampling import GradientOptions
from finetune.adapters.spectra import SVDS, leading, require_rank
from finetune.methods import option_texts as texts
from finetune.models.parts.ops import matmul
from rankwise import checks
from rankwise.options import option

GRID = (10.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.01, 5e-3, 1e-3, 5e-4, 1e-4)


@dataclasses.dataclass(frozen=True)
class OneStepConfig(GradientOptions):
    """Settings of `onestep`; and `GradientOptions`.

    Attributes:
      rank: r of the gradient's best approximation; 0 for the whole gradient.
      step_size: eta; None for that of `GRID` with the least loss on the rows of the gradient.
      svd, svd_iterations: as in `loraga`.
    """

    rank: int = option(8, "number of components of every module; 0 takes the whole gradient")
    step_size: float | None = option(
        None, "size of the step along the gradient; by default the best of a grid"
    )
    svd: str = option("exact", texts.SVD, SVDS)
    svd_iterations: int = option(4, texts.SVD_ITERATIONS)

    def __post_init__(self):
        super().__post_init__()
        checks.integer("rank", self.rank, 0)
        if self.step_size is not None:
            checks.positive("step_size", self.step_size)
        checks.choice("svd", self.svd, SVDS)
        checks.integer("svd_iterations", self.svd_iterations, 0)


def onestep(config: OneStepConfig, run: Run | None = None) -> Method:
    """y = x (W - eta [G]_r), G = dL/dW before training and [.]_r the best approximation of rank r.

    The steps of the run train the head alone, as the method "head" does, with the moved kernels
    below it. Where the head is not trained (--head=freeze) they change nothing, and one will do.

    Args:
      config: the settings.
      run: not read.

    Returns:
      A Method with theta[path] {a (in, r), b (r, out)} and aux[path] {gain (r,)}, every entry eta;
      or {delta (in, out)}, minus the gradient, and {eta ()}. It exports factors of rank r, or a
      dense change. `prepare` leaves eta at 0 and `settle` sets it.

    Example:
      >>> method = onestep(OneStepConfig(rank=0, step_size=0.5))
      >>> gradient = {"fc": jnp.ones((2, 2))}
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((2, 2))}, gradient)
      >>> theta, aux = method.settle(None, theta, aux)
      >>> method.apply(jnp.ones(2), jnp.ones((2, 2)), theta["fc"], aux["fc"], None).tolist()
      [1.0, 1.0]
    """
    del run
    size = "gain" if config.rank else "eta"

    def prepare(key, kernels, gradients):
        require_rank(config.rank, kernels)
        theta, aux = {}, {}
        for path in sorted(kernels):
            whole = gradients[path]
            if config.rank:
                own = factors.path_key(key, path) if config.svd == "randomised" else None
                pair = leading(whole, config.rank, own, 4 * config.rank, config.svd_iterations)
                theta[path] = {"a": pair.u, "b": -pair.s[:, None] * pair.vt}
            else:
                theta[path] = {"delta": -whole}
            aux[path] = {size: jnp.zeros((config.rank,) if config.rank else (), whole.dtype)}
        return theta, aux

    def settle(loss, theta, aux):
        def moved(eta):
            return {p: {size: jnp.full_like(entry[size], eta)} for p, entry in aux.items()}

        if config.step_size is not None:
            return theta, moved(config.step_size)
        losses = np.asarray([loss(theta, moved(eta)) for eta in GRID])
        best = np.argmin(np.where(np.isfinite(losses), losses, np.inf))
        return theta, moved(GRID[best])

    def apply(x, kernel, theta, aux, drop):
        del drop  # the step is part of the network: adapters' dropout is for what is trained
        if config.rank:
            return factors.apply(x, kernel, theta, aux, lambda x: x)
        return matmul(x, kernel) + aux["eta"].astype(x.dtype) * matmul(x, theta["delta"])

    def grads(objective, theta, aux, head, step, key):
        del step, key
        loss, of_head = jax.value_and_grad(lambda head: objective.loss(theta, aux, head))(head)
        return Gradients(loss, jax.tree.map(jnp.zeros_like, theta), of_head, {})

    def export(kernel, theta, aux):
        if config.rank:
            return factors.export(kernel, theta, aux)
        return Dense(np.asarray(aux["eta"]) * np.asarray(theta["delta"]))

    return Method(
        name="onestep",
        prepare=prepare,
        apply=apply,
        export=export,
        tx=optax.with_extra_args_support(optax.set_to_zero()),
        grads=grads,
        needs_gradients=config,
        settle=settle,
    )
