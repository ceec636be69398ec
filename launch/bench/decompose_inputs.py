"""Real matrices of the decompose suite: digits, the completion of MNIST images, a weight matrix."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from deflation import Regression
from launch.decomposing import inputs

IMAGES = 10_000  # of MNIST's test set


def real(data_dir: str | None = None, model: str | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Names and float32 matrices (m, d).

    Args:
      data_dir: folder with mnist.npz (x_test (n, 28, 28)); None leaves that case out.
      model: folder with model.safetensors; None leaves that case out.

    Raises:
      OSError: a file that is not there.
      ValueError: a file without the wanted array.
    """
    yield "digits", digits()
    if data_dir is not None:
        yield "MNIST completion", completion(pathlib.Path(data_dir) / "mnist.npz")
    if model is not None:
        yield "weight", weight(pathlib.Path(model) / "model.safetensors")


def digits() -> np.ndarray:
    """The 1797 images of 8 x 8 pixels that come with scikit-learn, one per column, in 0..1."""
    from sklearn.datasets import load_digits

    return (load_digits().data.T / 16).astype(np.float32)


def completion(path: pathlib.Path) -> np.ndarray:
    """The matrix to which "lower half of an image from its upper half" reduces: M = Y Q^T.

    Pixels that are never set make X rank-deficient, and M with it.
    """
    with np.load(path, allow_pickle=False) as file:
        if "x_test" not in file.files:
            raise ValueError(f"{path} holds {sorted(file.files)}; allowed is one with x_test")
        images = file["x_test"][:IMAGES].astype(np.float32) / 255
    pixels = images.reshape(len(images), -1).T
    half = len(pixels) // 2
    return np.asarray(Regression.from_data(pixels[:half], pixels[half:]).target)


def weight(path: pathlib.Path) -> np.ndarray:
    """The matrix of a checkpoint with the longest shorter side, the first such by name."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
    sides = {name: min(shape) for name, shape in shapes.items() if len(shape) == 2}
    if not sides:
        raise ValueError(f"{path} holds no matrix; allowed is a checkpoint with one")
    problem = inputs.load(None, f"{path}:{max(sides, key=sides.get)}", "float32").problem
    return np.asarray(problem.target)
