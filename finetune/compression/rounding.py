"""Kernels rounded to a few bits and back: what a quantised network computes with.

Legend: W (in, out) a kernel; a block is `block` neighbouring inputs of one output (the last one may
be shorter), as weights in torch's layout are stored one after the other. Every function returns
Q(W), of W's shape and dtype, and Q(Q(W)) = Q(W) up to rounding.

Source: Dettmers et al. (2023), QLoRA, arXiv 2305.14314, appendix E (the sixteen values of NF4).
"""

from __future__ import annotations

import functools

import numpy as np

from rankwise import checks

BLOCK = 64

NF4 = np.array(
    [
        *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
    ]
)
"""Quantiles of a normal distribution, -1, 0 and 1 among them."""


def nf4(kernel: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """The nearest of 16 values times the largest size in the block: off by .152 of it at most.

    With in a multiple of 64 these are the numbers of bitsandbytes without double quantisation.

    Args:
      kernel: W (in, out), floating.
      block: inputs that share a scale.

    Raises:
      ValueError: no finite matrix, or a block below 1.

    Example:
      >>> nf4(np.array([[2.0], [-1.0], [0.1]])).round(3).tolist()
      [[2.0], [-1.05], [0.159]]
    """
    blocks, unfold = _blocks(kernel, block)
    scale = abs(blocks).max(axis=-1, keepdims=True)
    borders = (NF4[1:] + NF4[:-1]) / 2
    shares = np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0)
    return unfold(NF4[np.searchsorted(borders, shares)] * scale)


def integers(kernel: np.ndarray, bits: int = 4, block: int = BLOCK) -> np.ndarray:
    """The nearest of 2^bits values spaced evenly from the least to the largest of the block.

    Off by (largest - least) / (2^bits - 1) / 2 at most. Scale and least value are not rounded
    themselves, as those of GGUF's Q4_1 are, to float16.

    Args:
      kernel: W (in, out), floating.
      bits: of a number, 1 to 8.
      block: inputs that share a scale.

    Raises:
      ValueError: no finite matrix, other bits, or a block below 1.

    Example:
      >>> integers(np.array([[3.0], [0.9], [0.0]]), bits=2).tolist()
      [[3.0], [1.0], [0.0]]
    """
    bits = checks.integer("bits", bits, 1, 8)
    blocks, unfold = _blocks(kernel, block)
    least = blocks.min(axis=-1, keepdims=True)
    step = (blocks.max(axis=-1, keepdims=True) - least) / (2**bits - 1)
    counts = np.divide(blocks - least, step, out=np.zeros_like(blocks), where=step > 0)
    return unfold(least + step * np.rint(counts))


ROUNDINGS = {
    "nf4": nf4,
    "int4": functools.partial(integers, bits=4),
    "int3": functools.partial(integers, bits=3),
}


def _blocks(kernel: np.ndarray, block: int):
    """(out, blocks, block) in float64, and the way back from there."""
    kernel = checks.array("kernel", kernel)
    block = checks.integer("block", block, 1)
    size_in, size_out = kernel.shape
    # The last number again and again: neither the least nor the largest of a block changes.
    padded = np.pad(kernel.T.astype(np.float64), ((0, 0), (0, -size_in % block)), "edge")

    def unfold(blocks: np.ndarray) -> np.ndarray:
        return blocks.reshape(size_out, -1)[:, :size_in].T.astype(kernel.dtype)

    return padded.reshape(size_out, -1, block), unfold
