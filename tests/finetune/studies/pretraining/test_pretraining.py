"""Pre-training at the smallest size: what is compared, memory, ranks, the text and the figure."""

import dataclasses
import json

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from deflation.problem.spectrum import effective_rank, stable_rank
from finetune.studies.pretraining import corpus
from finetune.studies.pretraining.pretraining import PretrainingSetting, pretraining
from finetune.studies.pretraining.probe import token_loss
from finetune.studies.survey.registry import registry
from tests.finetune.studies.survey.readable import readable

TINY = PretrainingSetting(
    **{"layers": 1, "width": 16, "heads": 2, "length": 12, "batch_size": 4, "size": 20_000},
    **{"steps": 12, "snapshots": 3, "rank": 3, "gap": 4, "restart": 3, "warm": 0.5, "seed": 1},
)


@pytest.fixture(scope="module")
def arrays():
    return pretraining(TINY)


def of(arrays, name, run):
    return arrays[name][arrays["runs"].tolist().index(run)]


@pytest.mark.thorough  # the example of pretraining
def test_all_runs_begin_alike_and_learn(arrays):
    assert arrays["steps"].tolist() == [0, 4, 8, 12]
    for name in ("loss", "stable_rank", "effective_rank"):
        assert arrays[name].shape == (5, 4) and np.isfinite(arrays[name]).all()
        np.testing.assert_allclose(arrays[name][:, 0], arrays[name][0, 0], rtol=1e-5)
    np.testing.assert_allclose(arrays["loss"][0, 0], np.log(256), atol=0.2)
    assert (arrays["loss"][:, -1] < arrays["loss"][:, 0] - 0.15).all()
    assert (arrays["stable_rank"] <= arrays["effective_rank"] + 1e-6).all()


@pytest.mark.thorough  # all runs
def test_a_warm_start_is_the_beginning_of_the_full_run(arrays):
    full, warm = (of(arrays, "loss", run) for run in ("full", "relora+warm"))
    assert warm[1] == full[1] and warm[3] != full[3]


@pytest.mark.thorough  # all runs
def test_memory_of_the_kernels(arrays):
    width, middle, rank = 16, 48, 3
    shapes = [(width, width)] * 4 + [(width, middle)] * 2 + [(middle, width)]
    kernels = sum(a * b for a, b in shapes)
    assert arrays["parameters"][0] == kernels and arrays["bytes"].shape == (5, 3, 2)
    sides = sum(rank * (2 * max(shape) + min(shape)) for shape in shapes)
    factors = rank * sum(a + b for a, b in shapes)
    count = 4  # Adam's step count
    expected = {
        "full": (2 * kernels, kernels, kernels),
        "galore": (sides, kernels, kernels),
        "lora": (2 * factors, factors, factors),
    }
    for run, sizes in expected.items():
        result = of(arrays, "bytes", run)[:, 0]
        assert (result - 4 * np.asarray(sizes) >= 0).all(), run
        assert (result - 4 * np.asarray(sizes) <= count + 7 * 4 * rank).all(), run
    rest = arrays["bytes"][:, :, 1]
    assert (rest == rest[0]).all()


@pytest.mark.thorough  # all runs
def test_ranks_in_use(arrays):
    assert np.isnan(of(arrays, "rank", "full")).all()
    assert (of(arrays, "rank", "galore") == 3).all() and (of(arrays, "rank", "lora") == 3).all()
    result = of(arrays, "rank", "adarankgrad")
    assert result[0] == 0 and (result[1:] >= 1).all() and (result[1:] <= 3).all()
    assert np.isnan(of(arrays, "rank", "relora+warm")[:2]).all()
    assert of(arrays, "rank", "relora+warm")[2:].tolist() == [3, 6]


@pytest.mark.thorough  # a warm start begins bit for bit as the full run
def test_a_run_is_reproducible_and_does_not_see_the_others(arrays):
    again = pretraining(dataclasses.replace(TINY, runs=("lora",)))
    assert np.array_equal(again["loss"][0], of(arrays, "loss", "lora"))


def test_ranks_of_spectra():
    assert stable_rank(np.array([3.0, 0, 0])) == 1 and effective_rank(np.array([3.0, 0, 0])) == 1
    assert stable_rank(np.ones(4)) == 4 and effective_rank(np.ones(4)) == pytest.approx(4)


def test_the_loss_is_of_the_next_byte():
    logits = np.full((2, 3, 4), -1e9, np.float32)
    labels = np.array([[0, 1, 2], [3, 3, 3]])
    np.put_along_axis(logits, labels[..., None], 0.0, axis=-1)
    assert float(token_loss(jax.numpy.asarray(logits), labels, np.ones(2))) == 0
    zeros = jax.numpy.zeros((2, 3, 4))
    assert float(token_loss(zeros, labels, np.array([1.0, 0]))) == pytest.approx(np.log(4))


def test_the_text(tmp_path):
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("x" * 900)
    table = pa.table({"label": [1, 0], "text": ["first", "second"], "more": ["p", None]})
    pa.parquet.write_table(table, folder / "deep" / "b.parquet")
    (folder / "c.json").write_text(json.dumps({"text": "no"}))
    assert corpus.has_text(folder) and not corpus.has_text(tmp_path / "texts" / "c.json")
    (folder / "z.md").write_text("y" * 200)
    result = corpus.load(folder, 10_000, heldout=0.1)
    whole = bytes(np.concatenate([result.train, result.heldout]))
    assert whole == b"x" * 900 + b"\nfirst\nsecond\np\n" + b"y" * 200 + b"\n"
    assert result.name == "texts" and len(result.heldout) == len(whole) // 10
    assert len(corpus.load(folder, 1000).train) == 900
    batch = result.batch(0, 3, 5, 8)
    assert all(np.array_equal(batch[n], result.batch(0, 3, 5, 8)[n]) for n in batch)
    assert not np.array_equal(corpus.load(None, 9000).batch(0, 4, 5, 8)["labels"], batch["labels"])
    assert np.array_equal(batch["input_ids"][:, 1:], batch["labels"][:, :-1])


def test_mistakes(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        corpus.load(tmp_path / "no", 100)
    (tmp_path / "image.png").touch()
    with pytest.raises(FileNotFoundError, match="has no text; wanted are "):
        corpus.load(tmp_path, 100)
    (tmp_path / "short.txt").write_text("hello")
    with pytest.raises(ValueError, match="has 6 bytes of text; allowed are 1000 and more"):
        corpus.load(tmp_path, 100)
    with pytest.raises(ValueError, match="runs is 'sora'; allowed are 'full'"):
        PretrainingSetting(runs=("sora",))
    with pytest.raises(ValueError, match=r"warm is 1.0; allowed are numbers in \(0, 1\)"):
        PretrainingSetting(warm=1.0)


def test_scales_and_where_the_text_is_from(tmp_path):
    recipe = registry()["pretraining"]
    assert recipe.scale("quick").setting == PretrainingSetting()
    assert recipe.scale("quick", None, tmp_path).setting.text is None  # a folder of images
    (tmp_path / "a.txt").write_text("text")
    long = recipe.scale("paper", 3, tmp_path).setting
    assert (long.text, long.seed, long.steps) == (str(tmp_path), 3, 500)


@pytest.mark.thorough  # its arrays are of all runs
def test_the_figure_is_readable(arrays):
    figure = registry()["pretraining"].draw(arrays, TINY)
    readable(figure)
    assert "Python's help texts" in figure.get_suptitle()
    assert len(figure.axes) == 4 and len(figure.axes[0].lines) == 5
