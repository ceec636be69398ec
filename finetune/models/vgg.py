"""VGG: 3 x 3 convolutions in stages, halved in size between them, and a dense classifier.

x <- relu(norm(conv(x))) for each width of a stage, then the maximum over 2 x 2.

Source: Simonyan & Zisserman (2015), configuration D (16 layers); for 32 x 32 images with one linear
layer behind the convolutions, as in public code. GroupNorm in place of batch normalisation, see
`finetune.models.parts.convolution`.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import RATE, SIZE, SIZES, STAGES, Config, entry
from finetune.models.interface import Output, pixels
from finetune.models.parts.convolution import Conv, GroupNorm, head, images
from finetune.models.parts.layers import Linear, dropout, fork
from finetune.models.parts.ops import PLAIN, Ops

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclasses.dataclass(frozen=True, kw_only=True)
class VGGConfig(Config):
    """Sizes of the network.

    Attributes:
      image_size, num_channels: of the images.
      stages: channels of each convolution, stage by stage; every stage halves the size, down to 1.
      classifier_sizes: widths of the hidden dense layers; () for 32 x 32 images in public code.
      classifier_dropout: after each of them.
    """

    image_size: int = entry(SIZE, 32)
    num_channels: int = entry(SIZE, 3)
    stages: tuple[tuple[int, ...], ...] = entry(STAGES, VGG16)
    classifier_sizes: tuple[int, ...] = entry(SIZES, ())
    classifier_dropout: float = entry(RATE, 0.0)

    model_type: ClassVar[str] = "vgg"
    architecture: ClassVar[str] = "VGG"

    @property
    def input_size(self) -> int:
        """Numbers in an image."""
        return self.image_size**2 * self.num_channels


class Block(nnx.Module):
    """relu(norm(conv(x)))."""

    def __init__(self, path: str, size_in: int, size_out: int, dtype):
        self.conv = Conv(f"{path}.conv", size_in, size_out)
        self.norm = GroupNorm(size_out, dtype)

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(B, H, W, in) -> (B, H, W, out)."""
        return jax.nn.relu(self.norm(self.conv(x, ops)))


class VGG(nnx.Module):
    """Stages of convolutions, then classifier.0, classifier.1, ... with ReLU between them.

    Example:
      >>> config = VGGConfig(num_labels=3, image_size=4, stages=((8,), (8, 8)))
      >>> jax.eval_shape(lambda: VGG(config)({"pixels": jnp.ones((2, 48))})).logits.shape
      (2, 3)
    """

    Config: ClassVar[type] = VGGConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = ""
    optional: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: VGGConfig, dtype=jnp.float32):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        channels, size, features = config.num_channels, config.image_size, []
        for i, stage in enumerate(config.stages):
            blocks = []
            for j, width in enumerate(stage):
                blocks.append(Block(f"features.{i}.{j}", channels, width, dtype))
                channels = width
            features.append(nnx.List(blocks))
            size = max(size // 2, 1)
        self.features = nnx.List(features)
        sizes = [channels * size**2, *config.classifier_sizes, config.num_labels]
        self.classifier = nnx.List(
            Linear(f"classifier.{i}", *sizes[i : i + 2]) for i in range(len(sizes) - 1)
        )

    @property
    def trainable_heads(self) -> tuple[str, ...]:
        """The last dense layer."""
        return (f"classifier.{len(self.config.classifier_sizes)}",)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of a mapping with pixels (B, ...); hidden_states are what each stage gives.

        Raises:
          ValueError: images of another size.
        """
        config = self.config
        x = images(pixels(inputs), config.image_size, config.num_channels, self.dtype)
        states = [x]
        for stage in self.features:
            for block in stage:
                x = block(x, ops)
            if x.shape[1] > 1:
                x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
                x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
            states.append(x)
        x = x.reshape(x.shape[0], -1)
        *hidden, last = self.classifier
        for layer, part in zip(hidden, fork(key, len(hidden)), strict=True):
            x = dropout(jax.nn.relu(layer(x, ops)), config.classifier_dropout, part)
            states.append(x)
        return Output(head(last, x, ops), tuple(states))
