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
    sums, energy, count, blocks, dtype = None, 0.0, 0, 0, None
    for x, y in _blocks(batching.checked(batches, rows)):
        if sums is None:
            dtype = checks.float_dtype(np.result_type(x, y))
            zero = np.zeros((x.shape[0] + y.shape[0], x.shape[0]), dtype)
            sums, d = (jnp.asarray(zero), jnp.asarray(zero.copy())), x.shape[0]
        energy += float(np.einsum("ij,ij->", y, y, dtype=np.float64))
        count, blocks = count + x.shape[1], blocks + 1
        sums = _added(*sums, *(_padded(part, dtype) for part in (x, y)))
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


def _blocks(pairs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The columns of the pairs, in as few blocks of at most `BLOCK` as there can be."""
    waiting, width = [], 0
    for pair in pairs:
        first = 0
        while first < pair[0].shape[1]:
            part = tuple(side[:, first : first + BLOCK - width] for side in pair)
            waiting.append(part)
            width, first = width + part[0].shape[1], first + part[0].shape[1]
            if width == BLOCK:
                yield _joined(waiting)
                waiting, width = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts) -> tuple[np.ndarray, np.ndarray]:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(sides, axis=1) for sides in zip(*parts, strict=True))


def _padded(part: np.ndarray, dtype) -> np.ndarray:
    """With columns of zeros, which add nothing: all blocks share a program."""
    missing = BLOCK - part.shape[1]
    part = np.asarray(part, dtype)
    return np.pad(part, ((0, 0), (0, missing))) if missing else part
