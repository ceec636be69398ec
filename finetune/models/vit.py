"""Vision transformer: patches as tokens, pre-norm layers, the class token's vector to the head.

x <- x + W_o attention(LayerNorm(x)),  x <- x + W_2 gelu(W_1 LayerNorm(x)).

Attribute names are transformers', except that the class token and the positions are tables
(`.weight`), as all parameters here are kernels, tables, scales or biases.

Source: Dosovitskiy et al. (2021); transformers.models.vit. LayerNorm is part of the published
network, so nothing is replaced.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.bert import SelfAttention
from finetune.models.config import ACTIVATION, POSITIVE, RATE, SIZE, Config, entry
from finetune.models.interface import Output, pixels
from finetune.models.parts.blocks import Intermediate
from finetune.models.parts.convolution import head, images
from finetune.models.parts.depth import through
from finetune.models.parts.layers import Embedding, LayerNorm, Linear, dropout, fork
from finetune.models.parts.ops import PLAIN, Ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig(Config):
    """The entries of a ViT's config.json that shape its forward pass; the defaults are ViT-B/16."""

    image_size: int = entry(SIZE, 224)
    patch_size: int = entry(SIZE, 16)
    num_channels: int = entry(SIZE, 3)
    hidden_size: int = entry(SIZE, 768)
    num_hidden_layers: int = entry(SIZE, 12)
    num_attention_heads: int = entry(SIZE, 12)
    intermediate_size: int = entry(SIZE, 3072)
    hidden_act: str = entry(ACTIVATION, "gelu")
    layer_norm_eps: float = entry(POSITIVE, 1e-12)
    hidden_dropout_prob: float = entry(RATE, 0.0)
    attention_probs_dropout_prob: float = entry(RATE, 0.0)
    initializer_range: float = entry(POSITIVE, 0.02)

    model_type: ClassVar[str] = "vit"
    architecture: ClassVar[str] = "ViT"
    divisible: ClassVar[tuple[str, str]] = ("hidden_size", "num_attention_heads")

    def contradictions(self) -> list[str]:
        """Heads that do not divide the width, patches that do not divide the image."""
        texts = super().contradictions()
        if self.image_size % self.patch_size:
            text = f"image_size is {self.image_size}; allowed are multiples of {self.patch_size}"
            texts.append(f"{text} (patch_size)")
        return texts

    @property
    def input_size(self) -> int:
        """Numbers in an image."""
        return self.image_size**2 * self.num_channels

    @property
    def num_patches(self) -> int:
        """Tokens beside the class token."""
        return (self.image_size // self.patch_size) ** 2


class Embeddings(nnx.Module):
    """[class; patches W] + positions."""

    def __init__(self, path: str, config: ViTConfig):
        size, patch = config.hidden_size, config.patch_size
        self.patch = patch
        self.projection = Linear(f"{path}.projection", patch**2 * config.num_channels, size)
        self.cls_token = Embedding(f"{path}.cls_token", 1, size)
        self.position_embeddings = Embedding(
            f"{path}.position_embeddings", config.num_patches + 1, size
        )

    def __call__(self, x_BHWC: jax.Array, ops: Ops) -> jax.Array:
        """(B, H, W, C) -> (B, L + 1, D); rows of the projection in torch's order (C, p, p)."""
        batch, height, width, channels = x_BHWC.shape
        p = self.patch
        x = x_BHWC.reshape(batch, height // p, p, width // p, p, channels)
        x = x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, -1, channels * p * p)
        x = self.projection(x, ops)
        first = self.cls_token(jnp.zeros((batch, 1), jnp.int32), ops).astype(x.dtype)
        x = jnp.concatenate([first, x], axis=1)
        return x + self.position_embeddings(jnp.arange(x.shape[1]), ops).astype(x.dtype)


class Layer(nnx.Module):
    """One pre-norm layer; attention.value and output (FC2) are the matrices of the figures."""

    def __init__(self, path: str, config: ViTConfig, dtype):
        size = config.hidden_size
        self.rate = config.hidden_dropout_prob
        self.layernorm_before = LayerNorm(size, config.layer_norm_eps, dtype)
        self.attention = SelfAttention(f"{path}.attention", config)
        self.attention_output = Linear(f"{path}.attention_output", size, size)
        self.layernorm_after = LayerNorm(size, config.layer_norm_eps, dtype)
        self.intermediate = Intermediate(f"{path}.intermediate", config)
        self.output = Linear(f"{path}.output", config.intermediate_size, size)

    def __call__(self, x: jax.Array, mask: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        inner, middle, outer = fork(key, 3)
        y = self.attention(self.layernorm_before(x), mask, ops, inner)
        x = x + dropout(self.attention_output(y, ops), self.rate, middle)
        y = self.intermediate(self.layernorm_after(x), ops)
        return x + dropout(self.output(y, ops), self.rate, outer)


class ViT(nnx.Module):
    """classifier(LayerNorm(x)_class), or of the mean over the patches with pooling="mean".

    Example:
      >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
      >>> config = ViTConfig(
      ...     num_labels=3, image_size=4, patch_size=2, intermediate_size=16, **sizes
      ... )
      >>> inputs = {"pixels": jnp.ones((2, 48))}
      >>> jax.eval_shape(lambda: ViT(config)(inputs)).hidden_states[-1].shape
      (2, 5, 8)
    """

    Config: ClassVar[type] = ViTConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = ""
    deep: ClassVar[tuple[str, ...]] = ("layer",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("classifier",)
    optional: ClassVar[tuple[str, ...]] = ("classifier",)
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ViTConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.dtype = jnp.dtype(dtype)
        self.embeddings = Embeddings("embeddings", config)
        self.layer = nnx.List(
            Layer(f"layer.{i}", config, dtype) for i in range(config.num_hidden_layers)
        )
        self.layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps, dtype)
        self.classifier = Linear("classifier", config.hidden_size, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of a mapping with pixels (B, ...); dropout only where a key is given.

        Raises:
          ValueError: images of another size.
        """
        config = self.config
        x = images(pixels(inputs), config.image_size, config.num_channels, self.dtype)
        first, *rest = fork(key, config.num_hidden_layers + 1)
        x = dropout(self.embeddings(x, ops), config.hidden_dropout_prob, first)
        mask_BL = jnp.ones(x.shape[:2], bool)

        def call(layer, x, ops, key):
            return layer(x, mask_BL, ops, key)

        states = through(self.layer, x, ops, rest, call, self.remat, self.scan)
        x = self.layernorm(states[-1])
        pooled = x[:, 0] if config.pooling == "cls" else x[:, 1:].mean(1)
        return Output(head(self.classifier, pooled, ops), states)
