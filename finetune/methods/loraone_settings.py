"""The settings of LoRA-One, of which three starts are published; see `loraone`."""

from __future__ import annotations

import dataclasses

from deflation import checks
from finetune.methods.lora import RANK, LoraConfig
from finetune.methods.loraga import GAMMA, SCALING, SCALINGS
from finetune.methods.options import option
from finetune.methods.preconditioned import ORDER, ORDERS
from finetune.methods.sampling import GradientOptions
from finetune.methods.spectra import ROUNDS, SVD, SVDS

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

    rank: int = option(8, RANK)
    stabilised: bool = option(True, "scale alpha / sqrt(r)")
    variant: str = option("public", "which of the published starts", VARIANTS)
    gamma: float | None = option(None, GAMMA)
    scaling: str = option("stable", SCALING, SCALINGS)
    strength: float | None = option(None, "first product, in units of the singular vectors'")
    sign: str = option("-grad", "of the matrix decomposed, for --variant=talk", SIGNS)
    preconditioned: bool = option(False, "gradients divided by the other factor's Gram matrix")
    damping: float = option(1e-6, "added to that Gram matrix")
    factor_order: str = option("gauss_seidel", ORDER, ORDERS)
    bias_correction: bool = option(True, "of AdamW's moments")
    svd: str = option("exact", SVD, SVDS)
    svd_iterations: int | None = option(None, ROUNDS)

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
