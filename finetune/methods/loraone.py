"""LoRA-One: both factors from the first r singular vectors of one full gradient.

Three starts are published under the name; H = -dL/dW = U S V^T below.

  public    a = U sqrt(S / S_1) / sqrt(gamma), b likewise; W stays: a normalised step is taken
  talk      a = c U_r, b = c V_r^T, and W - s a b below: nothing changes at first
  spectral  a = sqrt(g) U_r S_r^{1/2}, b likewise; W stays: a gradient step of rank r is taken

Source: Zhang, Liu and Chen (2025), arXiv 2502.01235; its public code, versions of January and May.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from finetune.adapters import factors, offset
from finetune.adapters.method import Method, Run
from finetune.adapters.sampling import GradientOptions
from finetune.adapters.spectra import SVDS, leading, require_rank, subtracted
from finetune.methods import option_texts as texts
from finetune.methods.lora import LoraConfig
from finetune.methods.loraga import SCALINGS, multiplier
from finetune.optimiser import by_rate
from finetune.optimisers.preconditioned import ORDER, ORDERS, preconditioned, uncorrected_adam
from rankwise import checks
from rankwise.options import option

VARIANTS = ("public", "talk", "spectral")
SIGNS = ("-grad", "+grad")


@dataclasses.dataclass(frozen=True)
class LoraOneConfig(GradientOptions, LoraConfig):
    """Settings of `loraone`; and `GradientOptions`.

    Attributes:
      rank, alpha, stabilised: of LoRA; s = alpha / sqrt(r).
      variant: see above; "public" is the present version of the code.
      gamma: of "public", 128 if None, and of "talk" with scaling "stable", 16 if None.
      scaling: c of "talk": "stable" out^(1/4) / sqrt(gamma), as its code has it, "unit" 1.
      strength: g of "spectral", 1 if None (2 suits ReLU outputs); of "talk" its printed gamma, so
        that c = sqrt(strength), in place of `scaling`.
      sign: of "talk". "+grad", as printed, starts at -c^2 s times where descent wants to go, and
        without noise ends in the saddle a b = 0 if the change it needs has a singular value above
        s c^2; "-grad" is the default, being safe whatever the scale.
      preconditioned: gradients divided by the other factor's Gram matrix; part of "talk", and
        withdrawn from the present code.
      damping: lam of that.
      factor_order: of its two updates; see `preconditioned`.
      bias_correction: of AdamW's moments; False with `preconditioned` is the public code.
      svd, svd_iterations: as in `loraga`; of "public" on 512 directions, 16 rounds unless told
        otherwise, else on 4 r, and 4.
    """

    rank: int = option(8, texts.RANK)
    stabilised: bool = option(True, texts.STABILISED)
    variant: str = option(
        "public", "which of the published starts from the gradient is taken", VARIANTS
    )
    gamma: float | None = option(None, texts.GAMMA)
    scaling: str = option("stable", texts.SCALING, SCALINGS)
    strength: float | None = option(
        None, "size of the first product in units of the singular vectors' product; by default 1"
    )
    sign: str = option(
        "-grad", "sign of the gradient that is decomposed with --variant=talk", SIGNS
    )
    preconditioned: bool = option(False, "divide gradients by the other factor's Gram matrix")
    damping: float = option(1e-6, "small number added to the Gram matrix of --preconditioned")
    factor_order: str = option("gauss_seidel", ORDER, ORDERS)
    bias_correction: bool = option(True, "correct the bias of AdamW's moments in the first steps")
    svd: str = option("exact", texts.SVD, SVDS)
    svd_iterations: int | None = option(None, texts.SVD_ITERATIONS)

    def __post_init__(self):
        LoraConfig.__post_init__(self)
        GradientOptions.__post_init__(self)
        checks.choice("variant", self.variant, VARIANTS)
        checks.choice("scaling", self.scaling, SCALINGS)
        checks.choice("sign", self.sign, SIGNS)
        checks.choice("factor_order", self.factor_order, ORDERS)
        checks.choice("svd", self.svd, SVDS)
        if self.svd_iterations is not None:
            checks.integer("svd_iterations", self.svd_iterations, 0)
        for name in ("gamma", "strength", "damping"):
            if getattr(self, name) is not None:
                checks.positive(name, getattr(self, name))
        if self.sign == "+grad" and self.variant != "talk":
            raise ValueError(f"sign is '+grad' with variant {self.variant!r}; allowed is '-grad'")

    @property
    def width(self) -> tuple[int, int]:
        """Directions and rounds of the randomised decomposition."""
        size, rounds = (512, 16) if self.variant == "public" else (4 * self.rank, 4)
        return size, rounds if self.svd_iterations is None else self.svd_iterations


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
      >>> from finetune.optimiser import OptimiserConfig
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
