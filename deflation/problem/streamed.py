"""Second moments of a stream, summed on the device: the rate of a product, half of the digits.

Legend: blocks X_i (d, BLOCK), Y_i (m, BLOCK) of the columns; [S; Z] = sum_i [X_i; Y_i] X_i^T.

Products are in float32 (float64 for data in it), their sum is compensated: what an addition rounds
off is summed as well, so that the error is that of the products alone, which are rounded apart from
each other and so average out over the blocks.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem import batches as batching
from deflation.problem import moments
from deflation.problem.components import product
from rankwise import checks
from rankwise.compiling import jit_quickly

BLOCK = 1024  # columns of a product; the sums of d (d + m) numbers then cost a tenth of it
CLOSE = 1e-5  # the largest relative error of M that is not warned of
# M that lies in all directions of X alike was off by up to eps condition^2 / (SHARE sqrt(blocks)),
# for 32 to 128 inputs, conditions 1 to 100, and 1 to 64 blocks.
SHARE = 8


def reduced(batches: Iterable[tuple], rows: str | None) -> tuple[tuple, np.dtype]:
    """The fields of a Regression of a stream, in float64, and its dtype.

    Warns where M may be off by more than `CLOSE` of it.

    Raises:
      ValueError: as `batches.columns`, all-zero targets.
    """
    sums, energy, count, blocks = None, 0.0, 0, 0
    for x, y, columns in _blocks(batching.checked(batches, rows)):
        if sums is None:
            d, dtype = len(x), x.dtype
            sums = tuple(jnp.zeros((d + len(y), d), dtype) for _ in range(2))
        energy += float(np.einsum("ij,ij->", y, y, dtype=np.float64))
        count, blocks = count + columns, blocks + 1
        # Waits, as the next block comes into the memory of this one.
        sums = jax.block_until_ready(_added(*sums, x, y))
    if sums is None:
        raise ValueError("batches is empty; allowed is at least one pair (x, y)")
    if energy == 0:
        raise ValueError("y is all zeros; allowed is a target with something to learn")
    total, rest = (np.asarray(part, np.float64) for part in sums)
    eps = float(np.finfo(dtype).eps)
    leaves, condition = moments.whitened_to(total[:d] + rest[:d], total[d:] + rest[d:], energy, eps)
    _warn(eps * condition**2 / (SHARE * blocks**0.5), condition, min(d, count) - leaves[-1], dtype)
    target, whitener, root, unexplained, rank = leaves
    return (target, whitener, root, unexplained, max(count - rank, 0)), dtype


def _warn(error: float, condition: float, lost: int, dtype) -> None:
    """Of a target that is not as good as the host's."""
    if error <= CLOSE and not lost:
        return
    left_out = f", without the {lost} directions that rounding hides," if lost else ""
    warnings.warn(
        f"on is 'device': the inputs have condition {condition:.2g}{left_out} and the target, of "
        f"moments in {dtype}, may be off by {max(error, CLOSE):.1g} of it; on='host' is exact",
        stacklevel=4,
    )


@functools.partial(jit_quickly, level=1, donate_argnums=(0, 1))
def _added(total, rest, x, y):
    """The sums with a block added, and what was rounded off (Knuth's two-sum)."""
    new = product(jnp.concatenate([x, y]), x.T)
    both = total + new
    of_new = both - total
    return both, rest + ((total - (both - of_new)) + (new - of_new))


def _blocks(pairs) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Blocks of `BLOCK` columns and how many of them are meant; zeros behind these add nothing.

    All have one shape, so one program, and one memory: a block is gone when the next is asked for.
    """
    block, width = (), 0
    for pair in pairs:
        if not block:
            dtype = checks.float_dtype(np.result_type(*pair))
            block = tuple(np.zeros((side.shape[0], BLOCK), dtype) for side in pair)
        first, columns = 0, pair[0].shape[1]
        while first < columns:
            more = min(BLOCK - width, columns - first)
            for side, given in zip(block, pair, strict=True):
                side[:, width : width + more] = given[:, first : first + more]
            width, first = width + more, first + more
            if width == BLOCK:
                yield *block, width
                width = 0
    if width:
        for side in block:
            side[:, width:] = 0
        yield *block, width
