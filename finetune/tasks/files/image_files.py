"""Images as uint8 arrays: scikit-learn's digits, Keras's mnist.npz, parquet of encoded images."""

from __future__ import annotations

import io
import pathlib
import zipfile
from typing import NamedTuple

import numpy as np

from finetune.tasks.files import columns, sources
from finetune.tasks.files.table import Table

DIGITS = tuple(map(str, range(10)))
CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Columns with the class; CIFAR-100 has a coarse one too, which is not used.
LABEL = ("fine_label", "label")
JPEG = b"\xff\xd8"
# Share of the digits that is trained on; they come without a split of their own.
DIGITS_TRAIN = 0.8


class Source(NamedTuple):
    """Where a data set is on the Hub, and its class names (() for the 100 in the file)."""

    repository: str
    config: str
    label_names: tuple[str, ...]


HUB: dict[str, Source] = {
    "mnist": Source("ylecun/mnist", "mnist", DIGITS),
    "cifar10": Source("uoft-cs/cifar10", "plain_text", CIFAR10),
    "cifar100": Source("uoft-cs/cifar100", "cifar100", ()),
}


class Images(NamedTuple):
    """Splits train and test.

    Attributes:
      arrays: split -> pixels, uint8 (n, height, width, channels), and labels, int32 (n,).
      label_names: one name per class.
      note: what has to be said beside a score; "" if nothing.
    """

    arrays: dict[str, tuple[np.ndarray, np.ndarray]]
    label_names: tuple[str, ...]
    note: str


def digits() -> Images:
    """The 1797 images of 8 x 8 pixels (0 to 16) in scikit-learn, 1438 to train and 359 to test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    border = round(DIGITS_TRAIN * len(order))
    pixels, labels = data.images.astype(np.uint8)[..., None], data.target.astype(np.int32)
    arrays = {
        "train": (pixels[order[:border]], labels[order[:border]]),
        "test": (pixels[order[border:]], labels[order[border:]]),
    }
    return Images(arrays, DIGITS, "")


def read(name: str, data_dir: str | pathlib.Path | None) -> Images:
    """mnist, cifar10 or cifar100 from a folder, or from the Hub if it is None.

    Raises:
      FileNotFoundError, ConnectionError, ValueError: see `images.load`.
    """
    source = HUB[name]
    if data_dir is None:
        tables = sources.from_hub(source.repository, source.config, ("train", "test"))
    else:
        data_dir = pathlib.Path(data_dir)
        if name == "mnist" and (data_dir / "mnist.npz").is_file():
            return Images(_npz(data_dir / "mnist.npz"), source.label_names, "")
        inner = [data_dir / name, data_dir / f"{name}_jpeg"]
        folder = next((path for path in inner if path.is_dir()), data_dir)
        tables = sources.read_splits(folder, ("train", "test"))
    for split in ("train", "test"):
        if split not in tables:
            raise FileNotFoundError(f"split {split!r} of task {name!r} does not exist")
    label_names = source.label_names
    if not label_names:
        train = tables["train"]
        label_names = train.label_names(_column(train, *LABEL)) or tuple(map(str, range(100)))
    arrays, lossy = {}, False
    for split, table in tables.items():
        encoded = _bytes(table)
        lossy |= any(image[:2] == JPEG for image in encoded)
        pixels = _decoded(table, encoded, "L" if name == "mnist" else "RGB")
        arrays[split] = (pixels, _labels(table, label_names))
    return Images(arrays, label_names, "JPEG-recompressed copy" if lossy else "")


def _labels(table: Table, label_names: tuple[str, ...]) -> np.ndarray:
    column = _column(table, *LABEL)
    labels = columns.classes(table, column, label_names)
    if labels is None:
        raise ValueError(
            f"column {column!r} of {table.origin} is -1 in all rows; allowed are labels"
        )
    return labels


def _column(table: Table, *names: str) -> str:
    """The first of the names that the table has."""
    column = next((name for name in names if name in table.names), names[-1])
    table.column(column)
    return column


def _bytes(table: Table) -> list[bytes]:
    values = table.column(_column(table, "image", "img"))
    values = [value.get("bytes") if isinstance(value, dict) else value for value in values]
    for row, value in enumerate(values):
        if not isinstance(value, bytes):
            raise ValueError(f"image in row {row} of {table.origin} is missing; allowed are bytes")
    return values


def _decoded(table: Table, encoded: list[bytes], mode: str) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    if not encoded:
        raise ValueError(f"{table.origin} has 0 rows; allowed are 1 or more")
    out = None
    for row, image in enumerate(encoded):
        try:
            pixels = np.asarray(Image.open(io.BytesIO(image)).convert(mode))
        except (UnidentifiedImageError, OSError, SyntaxError):
            raise ValueError(f"image in row {row} of {table.origin} cannot be decoded") from None
        if out is None:
            out = np.empty((len(encoded), *pixels.shape), np.uint8)
        if pixels.shape != out.shape[1:]:
            raise ValueError(
                f"image in row {row} of {table.origin} has shape {pixels.shape}; "
                f"allowed is {out.shape[1:]} as in row 0"
            )
        out[row] = pixels
    return out if out.ndim == 4 else out[..., None]


def _npz(path: pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    try:
        with np.load(path) as file:
            stored = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"file {str(path)!r} is not readable as .npz ({error})") from None
    for name in ("x_train", "y_train", "x_test", "y_test"):
        if name not in stored:
            raise ValueError(
                f"array {name!r} is not in {str(path)!r}; allowed are {', '.join(stored)}"
            )
    arrays = {s: (stored[f"x_{s}"], stored[f"y_{s}"]) for s in ("train", "test")}
    for split, (pixels, labels) in arrays.items():
        fits = pixels.shape[1:] == (28, 28) and labels.shape == pixels.shape[:1] != (0,)
        if pixels.dtype != np.uint8 or not fits:
            raise ValueError(
                f"x_{split} in {str(path)!r} has shape {pixels.shape} and dtype {pixels.dtype}; "
                f"allowed is uint8 (n, 28, 28) with n >= 1 labels in y_{split}"
            )
        if not np.isin(labels, range(10)).all():
            raise ValueError(f"y_{split} in {str(path)!r} has other values; allowed are 0 to 9")
    return {s: (x[..., None], labels.astype(np.int32)) for s, (x, labels) in arrays.items()}
