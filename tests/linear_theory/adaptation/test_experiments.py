"""The arrays behind the figures of low-rank adaptation, at sizes that take a second."""

import numpy as np

from linear_theory.adaptation.alignment import experiment as alignment_experiment
from linear_theory.adaptation.subtracted_start import experiment as subtracted_start_experiment
from linear_theory.adaptation.toys import experiment as toys_experiment
from linear_theory.instances.setting import Setting

SMALL = Setting(m=9, d=10, n=120, rank=2, trials=2, design="gauss")
TOY = Setting(m=1, d=2, n=4, rank=1, trials=3, design="gauss")


def test_alignment_is_transient_and_a_power_of_the_start():
    result = alignment_experiment.alignment_over_time(
        SMALL,
        inner=3,
        sizes=(1.0, 1e-2),
        ratios=(1.0, 16.0),
        small=(1e-4, 1e-6, 1e-8),
        step=0.1,
        steps=300,
    )
    assert result["risk"].shape == result["angle"].shape == (2, 2, 61)
    assert result["ratio_angle"].shape == (2, 2, 61) and result["best"].shape == (3, 2)
    np.testing.assert_allclose(result["risk"][:, :, 0], 1.0, rtol=1e-9)
    # The smaller start aligns better on the way and returns to the floor.
    least = result["angle"].min(axis=-1)
    assert (least[1] < least[0]).all() and (least[1] < 0.5 * result["floor"]).all()
    np.testing.assert_allclose(result["angle"][1, :, -1], result["floor"], rtol=0.1)
    slope = np.log(result["best"][1] / result["best"][2]) / np.log(100)
    np.testing.assert_allclose(slope, result["exponent"], atol=0.1)
    # The same scaled time for both ratios, up to the quarter power of the ratio.
    times = result["steps"][result["ratio_angle"].argmin(axis=-1)] * result["mean_step"][:, None]
    assert (np.abs(times[1] - times[0]) < 0.35 * times[0]).all()


def test_only_lora_ga_stops():
    setting = Setting(m=9, d=10, n=120, rank=4, trials=2, design="gauss")
    result = subtracted_start_experiment.starts_over_time(
        setting, inner=4, steps=90, samples=(60, 2000)
    )
    assert result["risk"].shape == (5, 2, 91)
    end = dict(zip(result["starts"], result["risk"][..., -1], strict=True))
    np.testing.assert_allclose(end.pop("LoRA-GA"), result["plateau"], rtol=1e-3)
    assert max(risk.max() for risk in end.values()) < 1e-6 * result["plateau"].min()
    few, many = result["plateau_by_samples"].mean(axis=1)
    assert many < few / 5


def test_toys_end_where_their_balance_says():
    result = toys_experiment.toy_paths(TOY, points=11)
    assert result["loss"].shape[:2] == (2, 3) and result["height"].shape == (11, 11)
    done = result["loss"][..., -1] < 1e-9
    assert done.sum() >= 5
    np.testing.assert_allclose(result["end"][done], result["predicted"][done], rtol=0.03)
    np.testing.assert_allclose(result["weight"][:, :, -1][done], [(2, 1)] * done.sum(), atol=1e-3)
    products = result["paths"][:, -1].prod(axis=1)
    np.testing.assert_allclose(products, [1, 1, 1, 0], atol=1e-9)
