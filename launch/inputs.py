"""Real input for `launch.decompose`: bundled digits, arrays and weight matrices from files."""

from __future__ import annotations

import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from deflation import Regression

MATRIX_FILES = ("FILE.npy", "FILE.safetensors:KEY")


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
        return Input(Regression.from_matrix(_matrix(matrix).astype(dtype)))
    if data == "digits":
        return _digits(dtype)
    arrays = _archive(data)
    missing = [name for name in ("x", "y") if name not in arrays]
    if missing:
        raise ValueError(
            f"{data} has no array {missing[0]!r}; it holds {sorted(arrays)}, allowed are x and y"
        )
    # As they are first, so that text or complex arrays are refused and not converted.
    problem = Regression.from_data(arrays["x"], arrays["y"])
    if problem.dtype != dtype:
        problem = Regression.from_data(arrays["x"].astype(dtype), arrays["y"].astype(dtype))
    return Input(problem)


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
        return _real(place, np.load(place, allow_pickle=False))
    except (EOFError, ValueError) as error:
        raise ValueError(f"{place} cannot be used: {error}") from None


def _tensor(path: pathlib.Path, key: str) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            if key in names:
                return _real(f"{path}:{key}", file.get_tensor(key))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from None
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    raise ValueError(f"{path} has no tensor {key!r}; it holds {len(names)}: {shown}")


def _real(name: str, value: np.ndarray) -> np.ndarray:
    # Weights may come as bfloat16, which numpy knows only by extension; anything else that is not
    # a real number must be refused here, before a cast would hide it.
    if value.dtype.kind not in "fiub" and value.dtype.name != "bfloat16":
        raise ValueError(f"{name} has dtype {value.dtype}; allowed are real numbers")
    return value
