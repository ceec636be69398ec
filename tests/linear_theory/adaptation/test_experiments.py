"""The arrays behind the figures of low-rank adaptation, at sizes that take a second."""

import numpy as np

from linear_theory.adaptation.alignment import experiment as alignment_experiment
from linear_theory.adaptation.subtracted_start import experiment as subtracted_start_experiment
from linear_theory.adaptation.toys import experiment as toys_experiment
from linear_theory.instances.setting import Setting

SMALL = Setting(m=9, d=10, n=120, rank=2, trials=2, design="gauss")
TOY = Setting(m=1, d=2, n=4, rank=1, trials=3, design="gauss")


def test_alignment_is_transient_and_a_power_of_the_start():
    found = alignment_experiment.alignment_over_time(
        SMALL,
        inner=3,
        sizes=(1.0, 1e-2),
        ratios=(1.0, 16.0),
        small=(1e-4, 1e-6, 1e-8),
        step=0.1,
        steps=300,
    )
    assert found["risk"].shape == found["angle"].shape == (2, 2, 61)
    assert found["ratio_angle"].shape == (2, 2, 61) and found["best"].shape == (3, 2)
    np.testing.assert_allclose(found["risk"][:, :, 0], 1.0, rtol=1e-9)
    # The smaller start aligns better on the way and returns to the floor.
    least = found["angle"].min(axis=-1)
    assert (least[1] < least[0]).all() and (least[1] < 0.5 * found["floor"]).all()
    np.testing.assert_allclose(found["angle"][1, :, -1], found["floor"], rtol=0.1)
    slope = np.log(found["best"][1] / found["best"][2]) / np.log(100)
    np.testing.assert_allclose(slope, found["exponent"], atol=0.1)
    # The same scaled time for both ratios, up to the quarter power of the ratio.
    times = found["steps"][found["ratio_angle"].argmin(axis=-1)] * found["mean_step"][:, None]
    assert (np.abs(times[1] - times[0]) < 0.35 * times[0]).all()


def test_only_lora_ga_stops():
    setting = Setting(m=9, d=10, n=120, rank=4, trials=2, design="gauss")
    found = subtracted_start_experiment.starts_over_time(
        setting, inner=4, steps=90, samples=(60, 2000)
    )
    assert found["risk"].shape == (5, 2, 91)
    end = dict(zip(found["starts"], found["risk"][..., -1], strict=True))
    np.testing.assert_allclose(end.pop("LoRA-GA"), found["plateau"], rtol=1e-3)
    assert max(risk.max() for risk in end.values()) < 1e-6 * found["plateau"].min()
    few, many = found["plateau_by_samples"].mean(axis=1)
    assert many < few / 5


def test_toys_end_where_their_balance_says():
    found = toys_experiment.toy_paths(TOY, points=11)
    assert found["loss"].shape[:2] == (2, 3) and found["height"].shape == (11, 11)
    done = found["loss"][..., -1] < 1e-9
    assert done.sum() >= 5
    np.testing.assert_allclose(found["end"][done], found["predicted"][done], rtol=0.03)
    np.testing.assert_allclose(found["weight"][:, :, -1][done], [(2, 1)] * done.sum(), atol=1e-3)
    products = found["paths"][:, -1].prod(axis=1)
    np.testing.assert_allclose(products, [1, 1, 1, 0], atol=1e-9)
