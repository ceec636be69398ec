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

T, N = 30, 3
STEPS = np.array([(2, 10, 18), (10, 10, 10), (18, 10, 2)])
EXPECTED = {
    "sequential_allocation",
    "sequential_alpha_sweep",
    "sequential_allocation_limits",
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


def runs(*shape):
    """Positive numbers that fall by four decades along the last axis, with some scatter."""
    numbers = np.random.default_rng(0)
    return np.geomspace(1, 1e-4, shape[-1]) * np.exp(0.3 * numbers.normal(size=shape))


def made_up(name):
    """Arrays of the shapes that the experiment of this figure returns."""
    profiles, alphas = np.array(["uniform", "exponential", "power"]), np.array([-1.0, 0.0, 1.0])
    orders, levels = np.array(["more", "equal", "less"]), np.array([0.1, 1.0])
    curves = {key: runs(3, N, T) for key in ("reconstruction", "training", "step_error")}
    ends = {key: value[..., -1] for key, value in curves.items()}
    first = np.tile(np.arange(10.0, 30.0, 10.0), (2, 3, N, 1))
    first[0, 1, 0, 1] = np.nan
    workers = {"error": runs(N, T, 3), "late_rate": np.full(3, 0.4)}
    return {
        "sequential_allocation": {"alphas": alphas, "steps": STEPS, **curves},
        "sequential_alpha_sweep": {"alphas": alphas, "steps": STEPS, **ends},
        "sequential_allocation_limits": {
            "alphas": alphas,
            "total": 200,
            "totals": np.array([100, 200]),
            "designs": np.array(["column", "orthonormal"]),
            "by_total": runs(2, 3, N),
            "by_design": runs(2, 3, N),
            "by_design_auto": runs(2, 3, N),
        },
        "sequential_horizon": {
            "totals": np.array([100, 200, 800]),
            "orders": orders,
            "reconstruction": runs(3, 3, N),
        },
        "sequential_thresholds": {
            "levels": np.array([2.0, 1.0]),
            "orders": orders,
            "budgets": np.array([(80, 40, 100), (80, 80, 80)]),
            "staircase": first,
            "smooth": first,
        },
        "sequential_spectra": {
            "profiles": profiles,
            "of_map": runs(3, 5),
            "of_target": runs(3, 5),
        },
        "sequential_profiles": {
            "profiles": profiles,
            "steps": np.array(["fixed", "auto"]),
            "component_steps": STEPS[1],
            "reconstruction": runs(2, 3, N, T),
            "training": runs(2, 3, N, T),
        },
        "sequential_noise": {
            "levels": levels,
            "densities": np.array([1.0, 0.05]),
            "component_steps": STEPS[1],
            "reconstruction": runs(2, 2, N, T),
            "training": runs(2, 2, N, T),
        },
        "sequential_noise_allocation": {
            "levels": levels,
            "totals": np.array([T]),
            "orders": orders,
            f"reconstruction_{T}": runs(2, 3, N, T),
            f"steps_{T}": STEPS,
        },
        "sequential_noise_profiles": {
            "profiles": profiles,
            "levels": levels,
            "norms": np.array([1.0, 2.0, 3.0]),
            "component_steps": STEPS[1],
            "error": runs(2, 3, N, T),
        },
        "extensions": {
            "options": np.array(["plain", "full-rank steps"]),
            "solvers": np.array(["gradient", "power"]),
            "gradient_work": np.tile(np.arange(1.0, T + 1), (2, 1)),
            "gradient_training": runs(2, N, T) ** 4,
            "gradient_component_error": runs(2, N, 3),
            "power_work": np.tile(np.arange(1.0, 7.0), (2, 1)),
            "power_training": runs(2, N, 6),
            "power_component_error": runs(2, N, 2),
        },
        "parallel_errors": {
            "rounds": np.arange(T),
            "ratio": np.array(0.6),
            "envelope": np.where(np.arange(T)[:, None] < 3, np.inf, 10 * runs(N, T, 3)),
            "settled": np.full((N, T, 3), np.inf),
            "warm_up": np.full((N, 3), 5.0),
            "proved_rate": np.full((N, 3), 0.8),
            **workers,
        },
        "parallel_warm_up": {
            "gaps": np.array([0.3, 0.1]),
            "ratios": np.array([0.5, 0.8]),
            "measured_workers": 1 / runs(2, N, 3),
            "theorem_workers": 2 / runs(2, N, 3),
            **{
                key: 5 / runs(2, N)
                for key in ("measured", "sharp", "lambert_1", "lambert_6", "theorem")
            },
        },
        "parallel_advance_learning": {
            "spectra": np.array(["geometric", "power"]),
            "sweeps": np.array([1, 3]),
            "target": np.array(1e-4),
            "with": runs(N, T, 3),
            "without": 2 * runs(N, T, 3),
            "ratio": runs(2, 2, N, 2),
            "saved": runs(2, 2, N, 2),
        },
        "parallel_versus_sequential": {
            "spectra": np.array(["geometric", "harmonic"]),
            "each": np.array(4),
            "sequential_work": np.arange(1, 13),
            "parallel_work": 3 * np.arange(1, 13),
            "sequential_error": runs(2, N, 12, 3),
            "parallel_error": runs(2, N, 12, 3),
            "sequential_sum_error": runs(2, N, 12),
            "parallel_sum_error": runs(2, N, 12),
        },
        "noise_floor": {
            "values": np.array([3.0, 2.0]),
            "levels": levels,
            "first_order": np.array([1.0, 2.0]),
            "two_terms": np.array([1.1, 2.5]),
            "squared_error": 1 / runs(2, N),
        },
        "best_rank": {
            "levels": levels,
            "shown": levels,
            "ranks": np.arange(1, 5),
            "error": runs(2, N, 4),
            "chosen": np.full((2, N), 2),
        },
        **adaptation(),
    }[name]


def adaptation():
    """The same for low-rank adaptation and its toys."""
    grid = np.linspace(-2, 2, 9)
    b, a = np.meshgrid(grid, grid, indexing="ij")
    return {
        "alignment_over_time": {
            "steps": np.arange(T),
            "sizes": np.array([1.0, 0.1]),
            "risk": runs(2, N, T),
            "angle": np.minimum(runs(2, N, T), 1),
            "ratios": np.array([1.0, 4.0]),
            "mean_step": np.array([0.1, 0.2]),
            "ratio_angle": np.minimum(runs(2, N, T), 1),
            "small": np.array([0.1, 0.01, 0.001]),
            "best": np.geomspace(0.1, 0.01, 3)[:, None] * np.ones(N),
            "floor": np.full(N, 0.3),
            "exponent": np.full(N, 0.5),
        },
        "starts_over_time": {
            "starts": np.array(["spectral", "LoRA-One", "+gradient", "LoRA-GA", "LoRA"]),
            "risk": runs(5, N, T),
            "plateau": np.full(N, 1e-2),
            "samples": np.array([100, 200, 400]),
            "plateau_by_samples": np.array([4e-2, 2e-2, 1e-2])[:, None] * np.ones(N),
        },
        "toy_paths": {
            "starts": np.array(["spectral", "LoRA"]),
            "loss": runs(2, N, T),
            "end": 1 + runs(2, N),
            "predicted": 1 + runs(2, N),
            "target": np.array(1.0),
            "grid": grid,
            "height": np.log10((a * b - 1) ** 2 + 1e-3),
            "field": np.stack([-(a * b - 1) * b, -(a * b - 1) * a]),
            "paths": np.stack([runs(T, 2)] * 4),
        },
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


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_no_text_is_clipped_or_overlaps(drawn, name):
    figure = drawn[name]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
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
