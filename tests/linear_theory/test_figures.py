"""Figures from made-up arrays: what they show is tested here."""

import inspect

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from linear_theory.figures import Recipe, registry, save, save_arrays
from linear_theory.instances.setting import Setting
from rankwise.plots import style
from tests.linear_theory.made_arrays import N, made_up

EXPECTED = {
    "sequential_allocation",
    "sequential_alpha_sweep",
    "sequential_allocation_limits",
    "sequential_sizes",
    "sequential_horizon",
    "sequential_thresholds",
    "sequential_spectra",
    "sequential_profiles",
    "sequential_noise",
    "sequential_noise_allocation",
    "sequential_noise_profiles",
    "extensions",
    "parallel_errors",
    "parallel_warm_up",
    "parallel_advance_learning",
    "parallel_versus_sequential",
    "noise_floor",
    "best_rank",
    "alignment_over_time",
    "starts_over_time",
    "toy_paths",
}


@pytest.fixture(scope="module")
def drawn():
    """All figures, drawn once."""
    setting = Setting(m=8, d=10, n=25, rank=3, trials=N)
    return {name: recipe.draw(made_up(name), setting) for name, recipe in registry().items()}


def test_the_registry_is_complete():
    recipes = registry()
    assert set(recipes) == EXPECTED
    for name, recipe in recipes.items():
        assert isinstance(recipe, Recipe) and recipe.name == name
        assert recipe.source.startswith("arXiv") and recipe.shows
        # Options of both scales are arguments of the experiment.
        known = set(inspect.signature(recipe.experiment).parameters)
        for scale in ("quick", "paper"):
            assert set(recipe.scale(scale).options) <= known
    used = {recipe.experiment.__name__ for recipe in recipes.values()}
    assert len(used) == len(recipes)  # no two figures of one experiment


def test_scales_and_seeds():
    recipe = registry()["sequential_allocation"]
    assert recipe.scale("paper").setting == Setting()
    assert recipe.scale("quick").setting.m < 100
    assert recipe.scale("paper", seed=7).setting == Setting(seed=7)
    with pytest.raises(ValueError, match="scale is 'huge'; allowed are"):
        recipe.scale("huge")


def test_from_experiment_to_figure():
    recipe = registry()["sequential_spectra"]
    assert isinstance(recipe.figure("quick"), Figure)
    assert set(recipe.arrays("quick")) == {"profiles", "of_map", "of_target"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_figure_says_what_it_shows(drawn, name):
    figure = drawn[name]
    assert isinstance(figure, Figure) and figure.get_suptitle()
    axes = [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]
    colorbar = len(axes) < len(figure.axes)
    assert figure.legends or colorbar or any(ax.get_legend() for ax in axes)
    for column in {ax.get_subplotspec().colspan.start for ax in axes}:
        below = [ax for ax in axes if ax.get_subplotspec().colspan.start == column]
        assert any(ax.get_xlabel() for ax in below)
    for row in {ax.get_subplotspec().rowspan.start for ax in axes}:
        beside = [ax for ax in axes if ax.get_subplotspec().rowspan.start == row]
        assert any(ax.get_ylabel() for ax in beside)
    assert all(ax.lines or ax.collections for ax in axes)


# Of every kind of layout one; what all figures must show is held above.
LAYOUTS = ("parallel_versus_sequential", "sequential_noise_profiles", "toy_paths")


@pytest.mark.parametrize(
    "name",
    [
        name if name in LAYOUTS else pytest.param(name, marks=pytest.mark.thorough)
        for name in sorted(EXPECTED)
    ],
)
def test_no_text_is_clipped_or_overlaps(drawn, name):
    figure = drawn[name]
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    page = figure.bbox.padded(1)
    texts = []
    for ax in figure.axes:
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            if text.get_text():
                texts.append(text.get_window_extent(renderer))
    texts.append(figure._suptitle.get_window_extent(renderer))
    texts += [legend.get_window_extent(renderer) for legend in figure.legends]
    if figure.get_supxlabel():
        texts.append(figure._supxlabel.get_window_extent(renderer))
    for number, box in enumerate(texts):
        assert page.x0 <= box.x0 and box.x1 <= page.x1, name
        assert page.y0 <= box.y0 and box.y1 <= page.y1, name
        assert not any(box.padded(-1).overlaps(other) for other in texts[:number]), name


def test_the_caption_speaks_of_these_data():
    recipe, setting = registry()["sequential_profiles"], Setting(trials=N)
    arrays = made_up("sequential_profiles")
    arrays["reconstruction"][0, 0] /= 100
    arrays["reconstruction"][1, 1] /= 100
    text = recipe.draw(arrays, setting).get_supxlabel()
    assert "fixed step: uniform < " in text and "adaptive step: exponential < " in text


def test_a_band_never_reaches_zero_on_a_logarithmic_axis():
    ax = Figure().subplots()
    values = np.array([[1.0, 1e-6], [1.0, 1e-2], [1.0, 1e-6]])
    style.band(ax, [1, 2], values, "black")
    assert ax.collections[0].get_paths()[0].vertices[:, 1].min() > 0
    style.band(ax, [1, 2], values, "black", log=False)
    assert ax.collections[1].get_paths()[0].vertices[:, 1].min() < 0


def test_long_curves_keep_their_ends():
    kept = style.thinned(10_000)
    assert len(kept) == style.POINTS and (kept[0], kept[-1]) == (0, 9_999)
    np.testing.assert_array_equal(style.thinned(5), np.arange(5))


def test_files_are_replaced_whole_and_reproducible(drawn, tmp_path, monkeypatch):
    path, figure = tmp_path / "figure", drawn["sequential_spectra"]
    (tmp_path / "figure.png").write_text("old")
    written = save(figure, path)
    assert [file.name for file in written] == ["figure.png", "figure.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    first = [file.read_bytes() for file in written]
    save(figure, path)
    assert [file.read_bytes() for file in written] == first
    arrays = made_up("sequential_spectra")
    read = np.load(save_arrays(arrays, path))
    assert set(read) == set(arrays) and (read["of_map"] == arrays["of_map"]).all()

    def broken(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="no space left"):
        save(figure, path)
    assert written[0].read_bytes() == first[0]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "figure.npz",
        "figure.png",
        "figure.svg",
    ]


def test_drawing_leaves_global_settings_alone():
    before = dict(matplotlib.rcParams)
    registry()["noise_floor"].draw(made_up("noise_floor"), Setting(trials=N))
    assert dict(matplotlib.rcParams) == before
