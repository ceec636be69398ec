"""LoRA-One: both factors from the first r singular vectors of one full gradient.

Three starts are published under the name; H = -dL/dW = U S V^T below.

  public    a = U sqrt(S / S_1) / sqrt(gamma), b likewise; W stays: a normalised step is taken
  talk      a = c U_r, b = c V_r^T, and W - s a b below: nothing changes at first
  spectral  a = sqrt(g) U_r S_r^{1/2}, b likewise; W stays: a gradient step of rank r is taken

Source: Zhang, Liu and Chen (2025), arXiv 2502.01235; its public code, versions of January and May.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from finetune.methods import factors, offset
from finetune.methods.loraga import multiplier
from finetune.methods.loraone_settings import LoraOneConfig
from finetune.methods.method import Method, Run
from finetune.methods.preconditioned import preconditioned, uncorrected_adam
from finetune.methods.spectra import leading, require_rank, subtracted
from finetune.training.optimisers import by_rate

TINY = 1e-30


def loraone(config: LoraOneConfig, run: Run) -> Method:
    """y = x W + s x a b, or + s (x a b - x a0 b0) with the variant "talk"; a0 and b0 as above.

    Per unit of the rate, the first step of plain descent moves W by -2 s^2 c^2 times the best
    approximation of dL/dW of rank r in the variant "talk", whatever `sign`.

    Args:
      config: the settings.
      run: its optimiser trains both factors.

    Returns:
      A Method whose theta[path] is {a (in, r), b (r, out)}, float32 (float64 for float64 kernels),
      and whose aux[path] is {gain (r,)}, with a0 and b0 in the variant "talk". It exports factors
      of rank r, there 2 r. `prepare` raises ValueError where r exceeds a side of a kernel.

    Source: arXiv 2502.01235, algorithm 1 and proposition 3.3.

    Example:
      >>> from finetune.training.optimisers import OptimiserConfig
      >>> config = LoraOneConfig(rank=1, gamma=1.0)
      >>> method = loraone(config, Run(OptimiserConfig(), total=10))
      >>> gradient = {"fc": jnp.diag(jnp.array([1.0, 3.0]))}
      >>> theta, _ = method.prepare(jax.random.key(0), {"fc": jnp.ones((2, 2))}, gradient)
      >>> theta["fc"]["a"].ravel().tolist(), (theta["fc"]["b"] + 0).ravel().tolist()
      ([0.0, 1.0], [0.0, -1.0])
    """
    form = offset if config.variant == "talk" else factors

    def prepare(key, kernels, gradients):
        require_rank(config.rank, kernels)
        theta = {}
        for path in sorted(kernels):
            matrix = gradients[path] if config.sign == "+grad" else -gradients[path]
            own = factors.path_key(key, path) if config.svd == "randomised" else None
            u, s, vt = leading(matrix, config.rank, own, *config.width)
            size = _size(config, s, vt.shape[1])
            theta[path] = {"a": u * size, "b": size[:, None] * vt}
        aux = subtracted(theta, config.scale)
        if config.variant != "talk":
            aux = {path: {"gain": entry["gain"]} for path, entry in aux.items()}
        return theta, aux

    return Method(
        name="loraone",
        prepare=prepare,
        apply=form.apply,
        lookup=form.lookup,
        export=form.export,
        tx=_optimiser(config, run),
        needs_gradients=config,
    )


def _size(config: LoraOneConfig, s: jax.Array, size_out: int) -> jax.Array:
    """What each singular vector is multiplied by, (r,)."""
    if config.variant == "public":
        gamma = 128.0 if config.gamma is None else config.gamma
        return jnp.sqrt(s / (jnp.maximum(s[0], TINY) * gamma))
    if config.variant == "spectral":
        return jnp.sqrt(s * (1.0 if config.strength is None else config.strength))
    if config.strength is not None:
        return jnp.full_like(s, config.strength**0.5)
    gamma = 16.0 if config.gamma is None else config.gamma
    return jnp.full_like(s, multiplier(config.scaling, gamma, size_out))


def _optimiser(config: LoraOneConfig, run: Run) -> optax.GradientTransformationExtraArgs:
    chosen, inner = run.optimiser, run.tx
    if not config.bias_correction and chosen.name == "adamw":
        moments = uncorrected_adam(chosen.beta1, chosen.beta2, chosen.epsilon)
        decay = optax.add_decayed_weights(chosen.weight_decay)
        inner = optax.chain(moments, decay, by_rate(run.rate))
    if not config.preconditioned:
        return inner
    return preconditioned(inner, config.damping, config.factor_order)
