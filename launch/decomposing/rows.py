"""An (m, d) matrix in a .npy file, of which every process reads its own rows."""

from __future__ import annotations

import pathlib

import jax
import numpy as np

from deflation import Regression
from launch.decomposing.inputs import as_real

AXIS = "rows"
PIECE = 1 << 24  # bytes of the file that are in memory beside the rows
ALIGNED = 64  # bytes; an array that begins at a multiple of it is JAX's without a copy


def apart(mesh: jax.sharding.Mesh | None) -> bool:
    """Whether the rows of M are on several processes."""
    if mesh is None or AXIS not in mesh.axis_names:
        return False
    owner = np.vectorize(lambda device: device.process_index)(mesh.devices)
    return bool(np.any(np.ptp(owner, axis=mesh.axis_names.index(AXIS))))


def problem(path: str | None, dtype: str, mesh: jax.sharding.Mesh) -> Regression:
    """min_W ||M - W||_F of the M (m, d) in a file, cut along the axis `AXIS` of the mesh.

    A process holds its rows, and a piece of the file while it reads them.

    Args:
      path: a .npy file, which all processes see.
      dtype: "float32" or "float64".
      mesh: of all processes.

    Raises:
      ValueError: another kind of file, or rows that cannot be cut evenly.
      OSError: a file that cannot be read.
    """
    if path is None or not path.endswith(".npy"):
        raise ValueError(
            f"--mesh cuts rows over {jax.process_count()} processes, which read them from a file; "
            "allowed is --matrix=FILE.npy, as numpy.save writes it"
        )
    stored, parts = _opened(path), mesh.shape[AXIS]
    if stored.shape[0] % parts:
        raise ValueError(
            f"{path} has {stored.shape[0]} rows; allowed with rows:{parts} in --mesh are multiples "
            f"of {parts} (rows of zeros change nothing)"
        )
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    return Regression.from_matrix(
        jax.make_array_from_callback(
            stored.shape, sharding, lambda index: read(stored, index[0], dtype)
        )
    )


def read(stored: np.memmap, part: slice, dtype: str) -> np.ndarray:
    """Some rows of a file in a dtype."""
    start, stop, _ = part.indices(stored.shape[0])
    columns = stored.shape[1]
    rows = _empty((stop - start, columns), dtype)
    step = max(1, PIECE // (columns * stored.itemsize))
    as_it_is = stored.dtype == rows.dtype
    # Not through the map: its pages would count as memory of the process.
    with pathlib.Path(stored.filename).open("rb") as file:
        file.seek(stored.offset + start * columns * stored.itemsize)
        for first in range(0, len(rows), step):
            piece = rows[first : first + step]
            if as_it_is:
                file.readinto(piece)
                continue
            numbers = np.fromfile(file, stored.dtype, piece.size)
            with np.errstate(over="ignore"):  # infinity is refused by whoever takes the rows
                piece[:] = as_real(stored.filename, numbers, dtype).reshape(piece.shape)
    return rows


def _opened(path: str) -> np.memmap:
    """The file, of which the header is read and nothing else."""
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
    except (EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from None
    if stored.ndim != 2 or not stored.size:
        raise ValueError(f"{path} has shape {stored.shape}; allowed is a matrix that is not empty")
    if not stored.flags.c_contiguous:
        raise ValueError(
            f"{path} is stored by columns; allowed is one that is stored by rows: "
            "numpy.save(FILE, numpy.ascontiguousarray(matrix))"
        )
    return stored


def _empty(shape: tuple[int, int], dtype: str) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNED, np.uint8)
    start = -memory.ctypes.data % ALIGNED
    return memory[start : start + size].view(dtype).reshape(shape)
