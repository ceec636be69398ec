"""The settings of Deep LoRA; see `deeplora`."""

from __future__ import annotations

import dataclasses

from deflation import checks
from finetune.methods.deep_factors import FRAMES
from finetune.methods.lora import RANK
from finetune.methods.options import option
from finetune.methods.sampling import GradientOptions


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

    rank: int = option(8, RANK)
    depth: int = option(3, "factors of a change")
    init_scale: float = option(1e-3, "singular values of each factor at first")
    compressed: bool = option(True, "small cores between frames from the gradient")
    frames: str = option("gradient", "where the frames point at first", FRAMES)
    outer_rate: float = option(0.01, "rate of the frames over that of the cores; 0 freezes them")

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
