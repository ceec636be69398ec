"""Sweeps of the image study: budgets and bases, and what their figures say."""

import numpy as np
import pytest

from finetune.studies.vision.registry import registry
from finetune.studies.vision.setting import VisionSetting
from finetune.studies.vision.study import study
from finetune.studies.vision.sweeps import leads, sweep

TINY = VisionSetting(
    "digits",
    hidden_size=16,
    epochs=(1, 2),
    base_epochs=2,
    joint_epochs=3,
    batch_size=16,
    learning_rate=3e-2,
    rows=256,
    seeds=(0,),
)


@pytest.fixture(scope="module")
def swept():
    return sweep(TINY, (1, 2), (3, 6), (-2.0, 0.0))


def test_a_sweep_is_the_study_at_its_paths(swept):
    tree = study(TINY)
    assert swept["path"].min() > 0.1
    assert swept["steps"].tolist() == [[[1, 1, 1], [1, 1, 1]], [[1, 2, 3], [2, 2, 2]]]
    np.testing.assert_array_equal(swept["joint"][:, 1], tree["joint"])
    np.testing.assert_array_equal(swept["base_own"][:, 1], tree["base_own"])
    assert swept["path"][0, 1, 0, 1] == tree["component_3"][0, 0, 0, 0]
    assert swept["path"][0, 1, 1, 1] == tree["component_3"][0, 1, 1, 1]


def test_leads_are_at_like_flops(swept):
    # The joint adapter of these flops, by hand; beyond its last epoch there is none.
    joint = np.array([swept["base_new"][0, 1], *swept["joint"][0, 1]], float)
    epochs = swept["stage_flops"].sum() / float(swept["joint_flops"])
    at = np.interp(epochs, np.arange(4), joint)
    np.testing.assert_allclose(leads(swept)[0, 1, 0, 1], swept["path"][0, 1, 0, 1] - at)
    longer = swept | {"steps": 9 * swept["steps"]}
    assert np.isnan(leads(longer)).all()


@pytest.mark.parametrize(("name", "said"), [("budgets", "best"), ("bases", "bases of")])
def test_a_figure_says_what_it_shows(swept, name, said):
    arrays = {"tasks": np.array(["digits"])} | {f"digits_{k}": v for k, v in swept.items()}
    figure = registry()[f"vision_{name}"].draw(arrays, None)
    (axis,) = figure.axes
    assert figure.get_suptitle() and axis.get_xlabel() and axis.get_ylabel() and axis.get_legend()
    assert f"digits: {said}" in figure.get_supxlabel()


def test_options_of_a_size_are_those_of_the_sweep():
    scale = registry()["vision_bases"].scale("quick")
    assert scale.setting.settings[0].task == "digits"
    assert set(scale.options) == {"base_epochs", "totals", "alphas"}
