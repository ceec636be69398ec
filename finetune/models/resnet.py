"""ResNet of basic blocks, with a 3 x 3 stem for small images.

x <- relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)), shortcut the identity or norm(conv 1 x 1).

Source: He et al. (2016); ResNet-18 is 2-2-2-2 blocks of 64, 128, 256 and 512 channels, for 32 x 32
images with a 3 x 3 stem and no pooling behind it, as in public code. GroupNorm in place of batch
normalisation, see `finetune.models.parts.convolution`; dropout after each block, as after each
hidden layer of arXiv 2503.19859, Figure 9, which does not say where it is in this network.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import RATE, SIZE, SIZES, Config, entry
from finetune.models.interface import Output, pixels
from finetune.models.parts.convolution import Conv, GroupNorm, head, images
from finetune.models.parts.layers import Linear, dropout, fork
from finetune.models.parts.ops import PLAIN, Ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig(Config):
    """Sizes of the network; the defaults are ResNet-18.

    Attributes:
      image_size, num_channels: of the images.
      depths, hidden_sizes: blocks and channels of each stage; each but the first halves the size.
      hidden_dropout_prob: after each block.
    """

    image_size: int = entry(SIZE, 32)
    num_channels: int = entry(SIZE, 3)
    depths: tuple[int, ...] = entry(SIZES, (2, 2, 2, 2))
    hidden_sizes: tuple[int, ...] = entry(SIZES, (64, 128, 256, 512))
    hidden_dropout_prob: float = entry(RATE, 0.0)

    model_type: ClassVar[str] = "resnet"
    architecture: ClassVar[str] = "ResNet"

    def contradictions(self) -> list[str]:
        """Stages without a width."""
        if len(self.depths) == len(self.hidden_sizes):
            return []
        return [f"hidden_sizes has {len(self.hidden_sizes)} stages, depths {len(self.depths)}"]

    @property
    def input_size(self) -> int:
        """Numbers in an image."""
        return self.image_size**2 * self.num_channels


class BasicBlock(nnx.Module):
    """Two convolutions and the shortcut around them."""

    def __init__(self, path: str, size_in: int, size_out: int, stride: int, dtype):
        self.conv1 = Conv(f"{path}.conv1", size_in, size_out, stride=stride, bias=False)
        self.norm1 = GroupNorm(size_out, dtype)
        self.conv2 = Conv(f"{path}.conv2", size_out, size_out, bias=False)
        self.norm2 = GroupNorm(size_out, dtype)
        if stride != 1 or size_in != size_out:
            self.shortcut = Conv(f"{path}.shortcut", size_in, size_out, 1, stride, bias=False)
            self.shortcut_norm = GroupNorm(size_out, dtype)

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(B, H, W, in) -> (B, H / stride, W / stride, out)."""
        y = jax.nn.relu(self.norm1(self.conv1(x, ops)))
        y = self.norm2(self.conv2(y, ops))
        if hasattr(self, "shortcut"):
            x = self.shortcut_norm(self.shortcut(x, ops))
        return jax.nn.relu(y + x)


class ResNet(nnx.Module):
    """fc(mean over the image of the last block).

    Example:
      >>> config = ResNetConfig(num_labels=3, image_size=4, depths=(1, 1), hidden_sizes=(8, 16))
      >>> inputs = {"pixels": jnp.ones((2, 48))}
      >>> jax.eval_shape(lambda: ResNet(config)(inputs)).hidden_states[-1].shape
      (2, 16)
    """

    Config: ClassVar[type] = ResNetConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = ""
    trainable_heads: ClassVar[tuple[str, ...]] = ("fc",)
    optional: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ResNetConfig, dtype=jnp.float32):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        width = config.hidden_sizes[0]
        self.conv = Conv("conv", config.num_channels, width, bias=False)
        self.norm = GroupNorm(width, dtype)
        blocks = []
        for i, (depth, size) in enumerate(zip(config.depths, config.hidden_sizes, strict=True)):
            for j in range(depth):
                stride = 2 if i > 0 and j == 0 else 1
                blocks.append(BasicBlock(f"blocks.{len(blocks)}", width, size, stride, dtype))
                width = size
        self.blocks = nnx.List(blocks)
        self.fc = Linear("fc", width, config.num_labels)

    def __call__(
        self,
        inputs,
        ops: Ops = PLAIN,
        key: jax.Array | None = None,
        rate: jax.Array | float | None = None,
    ) -> Output:
        """`Output` of a mapping with pixels (B, ...); hidden_states end with the pooled features.

        Args:
          rate: of dropout in place of the configuration's, see `finetune.models.dense`.

        Raises:
          ValueError: images of another size.
        """
        config = self.config
        rate = config.hidden_dropout_prob if rate is None else rate
        x = images(pixels(inputs), config.image_size, config.num_channels, self.dtype)
        states = [jax.nn.relu(self.norm(self.conv(x, ops)))]
        for block, part in zip(self.blocks, fork(key, len(self.blocks)), strict=True):
            states.append(dropout(block(states[-1], ops), rate, part))
        states.append(states[-1].mean((1, 2)))
        return Output(head(self.fc, states[-1], ops), tuple(states))
