"""Convolution as a linear map of patches, and the normalisation that goes with it.

y_p = sum_o W_o x_{p + o}, over the offsets o of a square window. The kernel is one matrix
(in k^2, out), its rows in torch's order (in, k, k), so that it is the transpose of torch's weight
with the window flattened, and singular values and adapters mean what they mean for a linear map.

Normalisation is by groups of channels of one image (Wu & He 2018, GroupNorm), where the published
networks normalise over the batch. The parameters are the same, a scale and a bias per channel; but
there are no running means to carry beside the parameters, training and evaluation are the same
function, and the gradient of one example does not depend on the others in its batch.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.parts.layers import Linear, wide
from finetune.models.parts.ops import PLAIN, Ops, precision

GROUPS = 32
"""Of channels, as published; fewer where the channels are not a multiple."""


class Conv(nnx.Module):
    """A k x k convolution, padded by (k - 1) / 2, with a bias or without.

    With other ops than `PLAIN` the patches are laid out and go through `Ops.linear`: k^2 times the
    memory, the same numbers up to rounding.
    """

    def __init__(self, path: str, size_in: int, size_out: int, window=3, stride=1, bias=True):
        self.path = path
        self.window = window
        self.stride = stride
        self.kernel = nnx.Param(jnp.zeros((size_in * window**2, size_out), jnp.float32))
        if bias:
            self.bias = nnx.Param(jnp.zeros(size_out, jnp.float32))

    def __call__(self, x_BHWC: jax.Array, ops: Ops) -> jax.Array:
        """(B, H, W, in) -> (B, ceil(H / stride), ceil(W / stride), out)."""
        k, side = self.window, (self.window - 1) // 2
        how = {
            "window_strides": (self.stride,) * 2,
            "padding": [(side, side)] * 2,
            "precision": precision(x_BHWC.dtype),
        }
        kernel = self.kernel[...]
        if ops is PLAIN:
            whole = kernel.astype(x_BHWC.dtype).reshape(-1, k, k, kernel.shape[-1])
            layout = ("NHWC", "IHWO", "NHWC")
            y = jax.lax.conv_general_dilated(x_BHWC, whole, dimension_numbers=layout, **how)
        else:
            layout = ("NHWC", "OIHW", "NHWC")
            patches = jax.lax.conv_general_dilated_patches(
                x_BHWC, filter_shape=(k, k), dimension_numbers=layout, **how
            )
            y = ops.linear(self.path, patches, kernel)
        return y + self.bias[...].astype(y.dtype) if hasattr(self, "bias") else y


class GroupNorm(nnx.Module):
    """(x - mean) / sqrt(variance + eps) * scale + bias over each group of channels of an image."""

    def __init__(self, channels: int, dtype, eps: float = 1e-5):
        self.groups = math.gcd(GROUPS, channels)
        self.eps = eps
        self.dtype = jnp.dtype(dtype)
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))

    def __call__(self, x_BHWC: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C) in the compute dtype, statistics at least in float32."""
        shape = x_BHWC.shape
        x = x_BHWC.astype(wide(x_BHWC.dtype)).reshape(*shape[:3], self.groups, -1)
        x = x - x.mean((1, 2, 4), keepdims=True)
        variance = (x * x).mean((1, 2, 4), keepdims=True)
        x = (x * jax.lax.rsqrt(variance + self.eps)).reshape(shape)
        return (x * self.scale[...] + self.bias[...]).astype(self.dtype)


def images(pixels_BD: jax.Array, size: int, channels: int, dtype) -> jax.Array:
    """(B, D), rows of flattened images -> (B, size, size, channels).

    Raises:
      ValueError: another number of features.
    """
    if pixels_BD.shape[1] != size**2 * channels:
        raise ValueError(
            f"pixels have {pixels_BD.shape[1]} numbers per example; "
            f"allowed are {size**2 * channels} (image_size^2 num_channels)"
        )
    return pixels_BD.astype(dtype).reshape(-1, size, size, channels)


def head(linear: Linear, x: jax.Array, ops: Ops) -> jax.Array:
    """The logits, in float32 as everywhere."""
    return linear(x.astype(wide(x.dtype)), ops)
