"""Decoding, layouts and refusals, on made pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from finetune.tasks import images
from finetune.tasks.files import image_files, sources
from tests.finetune.tasks import made


def pictures(count: int, kind: str = "png", mode: str = "RGB", side: int = 4):
    """Random pixels and their encoded form."""
    shape = (count, side, side, 3) if mode == "RGB" else (count, side, side)
    pixels = np.random.default_rng(count).integers(0, 256, shape, np.uint8)
    encoded = []
    for image in pixels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format=kind)
        encoded.append(file.getvalue())
    return pixels, encoded


def write(folder, encoded, labels, image="img", label="label", names=None):
    cells = [{"bytes": data, "path": None} for data in encoded]
    for split in ("train", "test"):
        path = folder / f"{split}.parquet"
        made.write_parquet(path, {image: cells, label: labels}, names)
    return folder


@pytest.mark.parametrize("inner", ["", "cifar10", "cifar10_jpeg"])
def test_cifar10_from_parquet(tmp_path, inner):
    pixels, encoded = pictures(3)
    write(tmp_path / inner, encoded, [9, 0, 3], names=image_files.CIFAR10)
    task = images.load("cifar10", tmp_path)
    assert (task.split("train").inputs["pixels"] == pixels).all()
    assert task.labels("test").tolist() == [9, 0, 3]
    assert task.label_names[3] == "cat" and task.note == ""


def test_jpeg_is_noted(tmp_path):
    write(tmp_path, pictures(2, "jpeg")[1], [0, 1])
    assert images.load("cifar10", tmp_path).note == "JPEG-recompressed copy"


def test_cifar100_has_fine_and_coarse_labels(tmp_path):
    _, encoded = pictures(2)
    cells = [{"bytes": data, "path": None} for data in encoded]
    for split in ("train", "test"):
        columns = {"img": cells, "fine_label": [99, 3], "coarse_label": [1, 2]}
        made.write_parquet(tmp_path / f"{split}.parquet", columns)
    task = images.load("cifar100", tmp_path)
    assert task.num_labels == 100 and task.labels("train").tolist() == [99, 3]


def test_a_folder_of_several_data_sets(tmp_path):
    (tmp_path / "cifar100_jpeg").mkdir()
    (tmp_path / "mnist.npz").touch()
    (tmp_path / "cifar10.npz").touch()  # no form in which this one is read
    assert [name for name in images.NAMES if images.has(tmp_path, name)] == ["mnist", "cifar100"]


def test_mnist_from_parquet_and_bytes(tmp_path):
    pixels, encoded = pictures(2, mode="L")
    for split in ("train", "test"):
        made.write_parquet(tmp_path / f"{split}.parquet", {"image": encoded, "label": [1, 7]})
    task = images.load("mnist", tmp_path)
    assert (task.split("train").inputs["pixels"][..., 0] == pixels).all()


def test_the_hub(monkeypatch):
    asked = []

    def hub(repository, config, splits):
        asked.append((repository, config))
        columns = {"img": pictures(2)[1], "label": [0, 1]}
        return {split: sources.Table(split, columns, {}) for split in splits}

    monkeypatch.setattr(sources, "from_hub", hub)
    assert len(images.load("cifar10").split("test")) == 2
    assert asked == [("uoft-cs/cifar10", "plain_text")]


def npz(path, **changes):
    arrays = {
        "x_train": np.zeros((3, 28, 28), np.uint8),
        "y_train": np.arange(3, dtype=np.uint8),
        "x_test": np.ones((2, 28, 28), np.uint8),
        "y_test": np.arange(2, dtype=np.uint8),
    }
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path / "mnist.npz", **arrays)


def test_mnist_npz(tmp_path):
    npz(tmp_path)
    task = images.load("mnist", tmp_path)
    assert task.split("train").inputs["pixels"].shape == (3, 28, 28, 1)
    assert task.labels("train").dtype == np.int32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "array 'y_test' is not in .*; allowed are x_train"),
        ({"x_train": np.zeros((3, 28, 28))}, "dtype float64; allowed is uint8"),
        ({"x_train": np.zeros((2, 28, 28), np.uint8)}, "with n >= 1 labels in y_train"),
        ({"y_test": np.array([0, 10])}, "y_test in .* has other values; allowed are 0 to 9"),
    ],
)
def test_refused_npz(tmp_path, changes, message):
    npz(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        images.load("mnist", tmp_path)


def test_a_broken_npz(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"PK broken")
    with pytest.raises(ValueError, match=r"mnist.npz' is not readable as .npz"):
        images.load("mnist", tmp_path)


GOOD = pictures(1)[1][0]


@pytest.mark.parametrize(
    ("encoded", "labels", "message"),
    [
        ([GOOD, b"no picture"], [0, 1], "image in row 1 of .* cannot be decoded"),
        ([GOOD, GOOD[:60]], [0, 1], "image in row 1 of .* cannot be decoded"),
        ([GOOD, None], [0, 1], "image in row 1 of .* is missing"),
        (
            [GOOD, pictures(1, side=5)[1][0]],
            [0, 1],
            r"has shape \(5, 5, 3\); allowed is \(4, 4, 3\)",
        ),
        ([GOOD], [10], r"is 10 in row 0; allowed are 0 \(airplane\)"),
        ([GOOD], [-1], "is -1 in all rows"),
        ([], [], "has 0 rows; allowed are 1 or more"),
    ],
)
def test_refused_images(tmp_path, encoded, labels, message):
    write(tmp_path, encoded, labels)
    with pytest.raises(ValueError, match=message):
        images.load("cifar10", tmp_path)


def test_missing_files_and_columns(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no data; allowed are files named train, test"):
        images.load("cifar10", tmp_path)
    write(tmp_path, [GOOD], [0], image="picture")
    with pytest.raises(ValueError, match=r"column 'img' is not in .*; allowed are picture, label"):
        images.load("cifar10", tmp_path)
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(FileNotFoundError, match="split 'test' of task 'cifar10' does not exist"):
        images.load("cifar10", tmp_path)


def test_a_real_copy_of_cifar10():
    path = made.shared("images", "cifar10_jpeg", "test.parquet")
    table = sources.read(path)
    assert table.label_names("label") == image_files.CIFAR10
    pixels = image_files._decoded(table, image_files._bytes(table)[:50], "RGB")
    assert pixels.shape == (50, 32, 32, 3)
