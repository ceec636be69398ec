"""Figures of the image study from made-up arrays: what they say, and that nothing is clipped."""

import itertools
import pathlib
import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import finetune
from finetune.studies.vision.registry import Recipe, registry
from finetune.studies.vision.setting import VisionSetting

NAMES = ("components", "paths", "efficiency", "spread", "flops", "order")


def made_up(*tasks, seeds=2):
    """Accuracies that rise with every epoch, most with those of the last component."""
    epochs = np.array([1, 3, 5, 10])
    one, two, three = np.log(epochs)[:, None, None], np.log(epochs)[:, None], np.log(epochs)
    shift = np.arange(seeds) / 100
    arrays = {"tasks": np.array(tasks)}
    for task in tasks:
        result = {
            "component_1": 0.5 + one[:, 0, 0] / 20 + shift[:, None],
            "component_2": 0.6 + (one[..., 0] + two[:, 0]) / 20 + shift[:, None, None],
            "component_3": 0.7 + (one + two + 1.5 * three) / 30 + shift[:, None, None, None],
            "joint": np.linspace(0.4, 0.95, 30) + shift[:, None],
            "seeds": np.arange(seeds),
            "epochs": epochs,
            "rows": np.array(25000),
            "stage_flops": np.array([14460, 23236, 32012]),
            "joint_flops": np.array(43380),
            "task": np.array(task),
            "note": np.array("JPEG-recompressed copy" if task == "cifar10" else ""),
        }
        arrays |= {f"{task}_{name}": value for name, value in result.items()}
    return arrays


@pytest.fixture(scope="module")
def drawn():
    """Every figure of two data sets, and of one."""
    both, one = made_up("mnist", "cifar10"), made_up("digits", seeds=1)
    return {
        (name, len(arrays["tasks"])): registry()[f"vision_{name}"].draw(arrays, None)
        for name in NAMES
        for arrays in (both, one)
    }


def test_the_registry_is_complete():
    recipes = registry()
    assert list(recipes) == [f"vision_{name}" for name in (*NAMES, "budgets", "bases")]
    sources = " ".join(recipe.source for recipe in recipes.values())
    assert all(f" {number}" in sources for number in (2, 3, 4, 11, 12, 13))
    assert all(isinstance(recipe, Recipe) and recipe.shows for recipe in recipes.values())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_a_figure_says_what_it_shows(drawn, name, count):
    figure = drawn[name, count]
    assert isinstance(figure, Figure) and figure.get_suptitle() and len(figure.axes) == count
    for axis in figure.axes:
        assert axis.get_xlabel() and axis.get_ylabel() and (axis.get_legend() or figure.legends)
        assert axis.lines or axis.collections
    titles = [axis.get_title() for axis in figure.axes]
    if count == 1:
        assert "digits" in titles[0] and "1 seed" in titles[0]
    else:
        assert titles[0].startswith("MNIST\n25000 training images, 2 seeds")
        assert titles[1].startswith("CIFAR-10, JPEG-recompressed copy\n")


@pytest.mark.thorough  # what a figure says is held above
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_no_text_is_clipped_or_overlaps(drawn, name, count):
    figure = drawn[name, count]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    page = figure.bbox.padded(1)
    labels = [t for ax in figure.axes for t in (ax.title, ax.xaxis.label, ax.yaxis.label)]
    labels += [figure._suptitle, *([figure._supxlabel] if figure.get_supxlabel() else [])]
    texts = [text.get_window_extent(renderer) for text in (*labels, *figure.legends)]
    for axis in figure.axes:
        ticks = [t.get_window_extent(renderer) for t in axis.get_xticklabels() if t.get_text()]
        shown = [box for box in ticks if axis.bbox.x0 - 1 <= box.x0 + box.width / 2]
        shown = [box for box in shown if box.x0 + box.width / 2 <= axis.bbox.x1 + 1]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(shown)), name
    for number, box in enumerate(texts):
        assert page.x0 <= box.x0 and box.x1 <= page.x1, name
        assert page.y0 <= box.y0 and box.y1 <= page.y1, name
        assert not any(box.padded(-1).overlaps(other) for other in texts[:number]), name


def test_the_captions_speak_of_these_data(drawn):
    # The last component counts most in these data, so the rising order wins everywhere.
    text = drawn["order", 1].get_supxlabel()
    assert "falling order better in 0 of 16, mean -" in text
    arrays = made_up("mnist")
    arrays["mnist_component_3"] = arrays["mnist_component_3"].transpose(0, 3, 2, 1)
    text = registry()["vision_order"].draw(arrays, None).get_supxlabel()
    assert "falling order better in 16 of 16, mean +" in text
    text = drawn["flops", 1].get_supxlabel()
    assert "cheapest within 5 % of the accuracy: " in text
    assert re.search(r"flops within 5 %, \d+ pairs: path minus joint [+-]", text)
    arrays["mnist_component_3"] = np.zeros((2, 4, 4, 4))
    assert "no path" in registry()["vision_flops"].draw(arrays, None).get_supxlabel()


def test_scales(tmp_path):
    recipe = registry()["vision_order"]
    (quick,) = recipe.scale("quick").setting.settings
    assert quick.task == "digits" and quick.hidden_size < 512
    (paper,) = recipe.scale("paper", seed=7).setting.settings
    assert paper.seeds == (7,) and paper.hidden_size == 512
    (tmp_path / "mnist.npz").touch()
    (real,) = recipe.scale("paper", data_dir=tmp_path).setting.settings
    assert real == VisionSetting("mnist", data_dir=str(tmp_path))
    (tmp_path / "cifar10_jpeg").mkdir()
    some = recipe.scale("quick", data_dir=tmp_path).setting
    assert [one.task for one in some.settings] == ["mnist", "cifar10"] and some.epochs == 500
    # The third data set of the paper, for those who have it.
    (tmp_path / "cifar100").mkdir()
    tasks = [one.task for one in recipe.scale("paper", data_dir=tmp_path).setting.settings]
    assert tasks == ["mnist", "cifar10", "cifar100"]
    with pytest.raises(FileNotFoundError, match="no images of mnist, cifar10, cifar100"):
        recipe.scale("quick", data_dir=tmp_path / "cifar10_jpeg")
    with pytest.raises(ValueError, match="scale is 'huge'"):
        recipe.scale("huge")


def test_drawing_changes_nothing_global():
    import matplotlib

    before = dict(matplotlib.rcParams)
    registry()["vision_flops"].draw(made_up("mnist"), None)
    assert dict(matplotlib.rcParams) == before


def test_the_package_does_without_the_theory():
    sources = pathlib.Path(finetune.__file__).parent.rglob("*.py")
    lines = [line for path in sources for line in path.read_text().splitlines()]
    assert not [line for line in lines if re.match(r"\s*(from|import) linear_theory", line)]
