"""Real input for `launch.decompose`: bundled digits, arrays and weight matrices from files."""

from __future__ import annotations

import pathlib
import zipfile
from typing import NamedTuple

import ml_dtypes
import numpy as np

from deflation import Regression
from finetune.weights.files import DTYPES, open_safetensors

MATRIX_FILES = ("FILE.npy", "FILE.safetensors:KEY")
ALLOWED = "allowed are real numbers of 16 bits or more, or integers: cast it, say to float32"
# Two bytes without a type: numpy.save has no name for the one such type that is in use.
BFLOAT16_IN_NPY = np.dtype("V2")


class Input(NamedTuple):
    """A problem, and for images the halves that completions are drawn from (pixels in rows)."""

    problem: Regression
    upper: np.ndarray | None = None
    lower: np.ndarray | None = None


def load(data: str | None, matrix: str | None, dtype: str) -> Input:
    """The problem that the flags --data and --matrix name.

    Args:
      data: "digits", or a .npz file with x (d, n) and y (m, n).
      matrix: a .npy file, or FILE.safetensors:KEY, holding an (m, d) matrix.
      dtype: "float32" or "float64".

    Raises:
      ValueError: both or none given, a file of another kind, a missing key, or data that
        `Regression` refuses.
      OSError: a file that cannot be read.
    """
    if (data is None) == (matrix is None):
        raise ValueError("give one of --data and --matrix")
    if matrix is not None:
        return Input(Regression.from_matrix(_checked(matrix, _matrix(matrix), dtype)))
    if data == "digits":
        return _digits(dtype)
    arrays = _archive(data)
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise ValueError(
            f"{data} has no array {missing[0]!r}; it holds {sorted(arrays)}, allowed are x and y"
        )
    x, y = (_checked(f"{name} of {data}", arrays[name], dtype) for name in ("x", "y"))
    return Input(Regression.from_data(x, y))


def _digits(dtype: str) -> Input:
    """The lower half of 1797 images of 8 x 8 from the upper half; pixels / 16, not centred."""
    from sklearn.datasets import load_digits

    images = load_digits().images / 16
    upper = images[:, :4].reshape(len(images), -1).T.astype(dtype)
    lower = images[:, 4:].reshape(len(images), -1).T.astype(dtype)
    return Input(Regression.from_data(upper, lower), upper, lower)


def _archive(path: str) -> dict[str, np.ndarray]:
    if not path.endswith(".npz"):
        raise ValueError(f"--data={path} is not known; allowed are digits and FILE.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not an .npz file of plain arrays: {error}") from None


def _matrix(place: str) -> np.ndarray:
    path, colon, key = place.partition(".safetensors:")
    if colon:
        return _tensor(pathlib.Path(path + ".safetensors"), key)
    if not place.endswith(".npy"):
        raise ValueError(f"--matrix={place} is not known; allowed are {' and '.join(MATRIX_FILES)}")
    try:
        return np.load(place, allow_pickle=False)
    except (EOFError, ValueError) as error:
        # numpy's own words name an argument of its own, which a user of the command has not.
        reason = "it holds Python objects" if "allow_pickle" in str(error) else error
        raise ValueError(f"{place} cannot be used: {reason}; allowed are numbers") from None


def _tensor(path: pathlib.Path, key: str) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    entries = open_safetensors(path)
    if key not in entries:
        names = list(entries)
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise ValueError(f"{path} has no tensor {key!r}; it holds {len(names)}: {shown}")
    if entries[key].dtype not in DTYPES.values():
        raise ValueError(f"{path}:{key} has dtype {entries[key].dtype}; {ALLOWED}")
    return entries[key].read()


def as_real(name: str, value: np.ndarray, dtype: str) -> np.ndarray:
    """`value` in `dtype`, or as it is where that would narrow it, which `Regression` does itself.

    Anything that is not a real number is refused here, before a cast would hide it.
    """
    if value.dtype == BFLOAT16_IN_NPY:
        value = value.view(ml_dtypes.bfloat16)
    if value.dtype.kind not in "fiub" and value.dtype.name not in DTYPES.values():
        raise ValueError(f"{name} has dtype {value.dtype}; {ALLOWED}")
    return value.astype(dtype if value.dtype.itemsize <= 4 else np.float64, copy=False)


def _checked(name: str, value: np.ndarray, dtype: str) -> np.ndarray:
    """`as_real`, of finite numbers that `dtype` can hold; a message says where one is not."""
    value = as_real(name, value, dtype)
    wrong = np.argwhere(~np.isfinite(value))
    if len(wrong):
        place = ", ".join(map(str, wrong[0]))
        raise ValueError(
            f"{name} contains NaN or infinity, {len(wrong)} times, first at [{place}]; "
            "allowed are finite numbers"
        )
    if np.can_cast(value.dtype, dtype):
        return value
    # Without |value|, which is as large as the matrix.
    limits, largest = np.finfo(dtype), max(np.max(value, initial=0), -np.min(value, initial=0))
    if largest > limits.max or 0 < largest < limits.smallest_subnormal:
        raise ValueError(
            f"{name} has numbers up to {largest:.1e}, which {dtype} does not hold; allowed is "
            "--dtype=float64"
        )
    return value
