import numpy as np
import pytest

from finetune.tasks import images
from finetune.tasks.images import by_classes
from tests.finetune.tasks import made


def test_digits_need_no_data():
    task = images.load("digits")
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 1438, "test": 359}
    assert (task.num_labels, task.metric, task.evaluation) == (10, "accuracy", "test")
    batch = task.batch("train", 0, 0, 32)
    assert batch["pixels"].shape == (32, 8, 8, 1) and batch["pixels"].dtype == np.float32
    assert batch["labels"].dtype == np.int32
    assert task.majority("test")["accuracy"] < 0.14
    # Every class in both splits, and a row in one of them only.
    assert all(len(np.unique(rows.labels)) == 10 for rows in task.splits.values())


def test_training_pixels_are_normalised():
    task = images.load("digits")
    pixels = next(task.in_order("train", 1438))["pixels"]
    assert abs(pixels.mean()) < 1e-5 and abs(pixels.std() - 1) < 1e-5


def test_moments_per_channel():
    g = np.random.default_rng(0)
    pixels = g.integers(0, 256, (5000, 2, 2, 3), np.uint8)
    pixels[..., 2] = 7
    mean, std = images.moments(pixels)
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std[:2], pixels[..., :2].std((0, 1, 2)), rtol=1e-6)
    assert std[2] == 1


def test_halves_of_the_classes():
    whole = images.load("digits")
    first, second = (images.load("digits", classes=half) for half in ("first", "second"))
    for split in ("train", "test"):
        assert set(first.labels(split)) == set(range(5))
        assert set(second.labels(split)) == set(range(5, 10))
        assert len(first.split(split)) + len(second.split(split)) == len(whole.split(split))
    # Ten outputs and the same normalisation on both sides: one network serves both.
    assert first.num_labels == second.num_labels == 10
    assert first.collate is not None and second.note == "only the classes 5 to 9"
    zero = {"pixels": np.zeros((1, 8, 8, 1), np.uint8)}
    rows = np.array([0])
    assert (first.collate(zero, rows)["pixels"] == second.collate(zero, rows)["pixels"]).all()
    assert by_classes(whole, "all") is whole


def test_refused():
    with pytest.raises(ValueError, match="task is 'svhn'; allowed are 'digits', 'mnist'"):
        images.load("svhn")
    with pytest.raises(
        ValueError, match="classes is 'third'; allowed are 'all', 'first', 'second'"
    ):
        images.load("digits", classes="third")


def test_mnist():
    task = images.load("mnist", made.shared("images"))
    assert {split: len(rows) for split, rows in task.splits.items()} == {
        "train": 60000,
        "test": 10000,
    }
    mean, std = task.collate.args
    # The constants that torchvision's examples use.
    np.testing.assert_allclose([mean[0] / 255, std[0] / 255], [0.1307, 0.3081], atol=1e-4)
    assert task.majority("test")["accuracy"] == 0.1135
