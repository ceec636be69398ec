"""The survey's figures on adapters: rates of two factors, few directions, sizes by folder."""

import dataclasses

import numpy as np
import pytest

from finetune.studies.survey import deep_adaptation as module
from finetune.studies.survey.deep_adaptation import DeepSetting
from finetune.studies.survey.factor_rates import RatesSetting
from finetune.studies.survey.registry import registry
from tests.finetune.studies.survey.readable import readable

SMALL_ADAPTATION = {"steps": 4, "snapshots": 2, "base_steps": 5, "hidden_size": 12, "rank": 2}


@pytest.mark.thorough  # the example of factor_rates
def test_a_faster_second_factor_grows_faster():
    recipe = registry()["survey_factor_rates"]
    setting = RatesSetting(**SMALL_ADAPTATION, ratios=(1.0, 1.0, 4.0), learning_rate=1e-3)
    result = recipe.experiment(setting)
    assert result["steps"].tolist() == [0, 2, 4] and result["losses"].shape == (3, 4)
    # One start and one order of the rows: the rates alone make the difference.
    np.testing.assert_array_equal(result["norm_b"][0], result["norm_b"][1])
    assert (result["norm_b"][:, 0] == 0).all() and len(set(result["norm_a"][:, 0])) == 1
    ratio = result["norm_b"][2, 1] / result["norm_b"][0, 1]
    assert 3 < ratio < 4.5  # Adam: its steps are of the rates' size, whatever the gradients
    assert len(set(result["course"][:, 0])) == 1 and result["course"].shape == (3, 3)
    np.testing.assert_array_equal(result["scores"], result["course"][:, -1])
    figure = recipe.draw(result, setting)
    readable(figure)
    del result["course"]  # as files of earlier versions
    assert len(figure.axes) == 4 and len(recipe.draw(result, setting).axes) == 3


@pytest.mark.thorough  # the example of deep_adaptation
def test_deep_adapters_have_few_directions():
    recipe = registry()["survey_deep_lora"]
    options = SMALL_ADAPTATION | {"steps": 40, "base_steps": 60}
    setting = DeepSetting(
        **options, learning_rate=5e-3, few=(8, 64), few_steps=20, values=5, subspace=2, seeds=(0,)
    )
    result = recipe.experiment(setting)
    assert result["paths"].tolist() == ["layers.0", "layers.1", "layers.2"]
    assert result["values"].shape == (3, 3, 5) and (result["values"][:, 0] == 0).all()
    assert np.isnan(result["alignment"][:, 0]).all()
    np.testing.assert_allclose(result["alignment"][:, -1], 1, atol=1e-5)
    assert ((result["alignment"][:, 1] > 0) & (result["alignment"][:, 1] <= 1 + 1e-6)).all()
    assert result["scores"].shape == (2, 2, 1) and result["ranks"].shape == (2, 3)
    assert (result["ranks"][0] <= 2).all()  # LoRA's own bound
    readable(recipe.draw(result, setting))
    other = module._spectra(dataclasses.replace(setting, side="input"), module.problem(setting))
    np.testing.assert_array_equal(other["values"], result["values"])
    assert not np.array_equal(other["alignment"], result["alignment"])


def test_sizes_of_adapters_follow_the_folders(tmp_path):
    (tmp_path / "stsb").mkdir()
    (tmp_path / "stsb" / "train.parquet").touch()
    for name in ("survey_factor_rates", "survey_deep_lora"):
        recipe = registry()[name]
        for given in ((None, None), (tmp_path, None), (None, tmp_path)):
            assert recipe.scale("quick", None, *given).setting.task == "digits"
        setting = recipe.scale("paper", 3, tmp_path, tmp_path).setting
        assert (setting.task, setting.seed, setting.rank) == ("stsb", 3, 8)
        assert setting.learning_rate == 1e-4
    assert len(setting.seeds) == 20 and setting.head == "frozen_random" and setting.steps == 2000
    with pytest.raises(ValueError, match="snapshots is 3; allowed are divisors of the 4 steps"):
        RatesSetting(steps=4, snapshots=3)
