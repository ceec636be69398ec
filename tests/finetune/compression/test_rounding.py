"""Rounded kernels: near enough, the same when rounded again, and block by block."""

import numpy as np
import pytest

from finetune.compression import rounding
from finetune.compression.rounding import NF4, ROUNDINGS, integers, nf4


def kernel(size_in=10, size_out=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(size_in, size_out)) * 10.0 ** rng.integers(-3, 3, size_out)).astype(
        dtype
    )


def blocks(matrix, block):
    """Column by column, block by block."""
    return [c[i : i + block] for c in matrix.T for i in range(0, len(c), block)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ROUNDINGS)
@pytest.mark.parametrize("size_in", [1, 7, 64, 130])
def test_rounded_again_it_stays(name, size_in, dtype):
    once = ROUNDINGS[name](kernel(size_in, dtype=dtype))
    assert once.shape == (size_in, 3) and once.dtype == dtype
    # The largest of a block may be off by an ulp, and with it the whole grid.
    off = abs(ROUNDINGS[name](once) - once).max(axis=0) / abs(once).max(axis=0)
    assert off.max() <= 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("block", [4, 64])
@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_integers_are_at_most_half_a_step_off(bits, block):
    w = kernel()
    for old, new in zip(blocks(w, block), blocks(integers(w, bits, block), block), strict=True):
        half = (old.max() - old.min()) / (2**bits - 1) / 2
        assert abs(new - old).max() <= half * (1 + 1e-9)
        assert len(np.unique(new.round(12))) <= 2**bits
        assert new.min() == old.min() and new.max() == pytest.approx(old.max(), rel=1e-12)


@pytest.mark.parametrize("block", [4, 64])
def test_nf4_is_the_nearest_of_its_values(block):
    w = kernel()
    for old, new in zip(blocks(w, block), blocks(nf4(w, block), block), strict=True):
        scale = abs(old).max()
        nearest = abs(old[:, None] - scale * NF4).min(axis=1)
        np.testing.assert_allclose(abs(new - old), nearest, atol=1e-12 * scale)
        assert nearest.max() <= 0.152 * scale
    assert len(NF4) == 16 and (np.diff(NF4) > 0).all()


def test_a_block_is_of_inputs():
    """An output, and a block of it, know nothing of the others."""
    w = kernel(8, 2)
    louder = w.copy()
    louder[:4, 1] *= 100
    for name in ("nf4", "int4"):
        rounded, other = (ROUNDINGS[name](x, block=4) for x in (w, louder))
        np.testing.assert_array_equal(rounded[:, 0], other[:, 0])
        np.testing.assert_array_equal(rounded[4:, 1], other[4:, 1])


@pytest.mark.parametrize("name", ROUNDINGS)
def test_zeros_and_constants_are_exact(name):
    for value in (0.0, 2.5):
        np.testing.assert_array_equal(ROUNDINGS[name](np.full((5, 2), value)), value)


def test_nf4_is_that_of_bitsandbytes():
    pytest.importorskip("bitsandbytes")
    import torch
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    w = kernel(128, 6, dtype=np.float32)
    packed, state = quantize_4bit(torch.tensor(w.T.copy()), blocksize=64, quant_type="nf4")
    theirs = dequantize_4bit(packed, state).numpy().T
    np.testing.assert_allclose(nf4(w), theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nf4(np.full((2, 2), np.nan)), "kernel contains NaN"),
        (lambda: rounding.integers(np.ones((2, 2)), bits=0), "bits is 0"),
        (lambda: nf4(np.ones((2, 2)), block=0), "block is 0"),
        (lambda: nf4(np.ones(3)), "kernel has shape"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
