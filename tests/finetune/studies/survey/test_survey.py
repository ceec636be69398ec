"""The survey's figures with networks, at tiny size: counts, spectra, drawings and their data."""

import dataclasses

import numpy as np
import pytest

from finetune.studies.survey import dropout_rank as module
from finetune.studies.survey import update_spectra as spectra
from finetune.studies.survey.deep_factors import FactorsSetting, deep_factors, value_matrix
from finetune.studies.survey.dropout_images import ImageDropoutSetting, dropout_images
from finetune.studies.survey.dropout_rank import DropoutSetting, count, dropout_rank, teacher
from finetune.studies.survey.image_training import ImageSetting, config_of
from finetune.studies.survey.registry import registry
from finetune.studies.survey.update_spectra import update_spectra
from finetune.tasks import images
from tests.finetune.models.tiny import DATA
from tests.finetune.studies.survey.readable import readable

SMALL = {"rows": 64, "epochs": 2, "batch_size": 32, "snapshots": 2}
SIZES = {
    "dln": {"hidden_size": 16, "num_layers": 3},
    "mlp": {"hidden_size": 16, "num_layers": 3},
    "vgg": {"stages": ((8,), (8,)), "classifier_sizes": (12,)},
    "vit": {
        "patch_size": 4,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 12,
    },
}


def small(network, **changes):
    return ImageSetting(network=network, sizes=SIZES[network], **SMALL | changes)


@pytest.fixture(scope="module")
def networks():
    settings = (small("dln", loss="squared"), small("vit", optimiser="adam"))
    return registry()["survey_updates"].experiment(settings)


@pytest.fixture(scope="module")
def rates():
    setting = DropoutSetting(
        width=6, rank=4, rates=(0.0, 0.8), batch_size=32, steps=1500, loss="sum", seeds=(0,)
    )
    return dropout_rank(setting)


@pytest.mark.thorough  # the example of dropout_rank trains it
def test_dropout_lowers_the_rank(rates):
    assert rates["dln_values"].shape == (1, 2, 6)
    # Without dropout the linear network finds the teacher's rank.
    assert rates["dln_counts"][0, 0] == 4 and rates["dln_error"][0, 0] < 0.05
    for name in ("dln", "relu"):
        assert rates[f"{name}_counts"][0, 1] < rates[f"{name}_counts"][0, 0]
        assert rates[f"{name}_first_values"].shape == (1, 2, 6)
        # Figure 2: the values over training end where Figure 9 takes them.
        course = rates[f"{name}_course"]
        assert course.shape == (1, 2, 21, 6)
        np.testing.assert_array_equal(course[:, :, -1], rates[f"{name}_values"])
    assert rates["course_steps"].tolist() == list(range(0, 1501, 75))
    start, end = rates["dln_course"][0, 1, [0, -1]]
    assert count(end) < count(start)


@pytest.mark.thorough  # lengths that they divide above
def test_a_length_that_snapshots_do_not_divide_is_trained_to_its_end(monkeypatch):
    linear = {"dln": module.NETWORKS["dln"]}
    monkeypatch.setattr(module, "NETWORKS", linear)
    options = {"width": 4, "rank": 2, "rates": (0.0,), "batch_size": 8, "examples": 8}
    options |= {"steps": 7, "learning_rate": 0.1, "seeds": (0,)}
    result = [dropout_rank(DropoutSetting(**options, snapshots=n)) for n in (1, 3)]
    assert result[1]["course_steps"].tolist() == [1, 3, 5, 7]
    np.testing.assert_allclose(result[0]["dln_values"], result[1]["dln_values"], rtol=1e-5)


@pytest.mark.thorough  # the example of dropout_images runs it
def test_dropout_in_a_resnet():
    sizes = {"depths": (1,), "hidden_sizes": (8,)}
    training = ImageSetting(network="resnet", sizes=sizes, **SMALL)
    result = dropout_images(ImageDropoutSetting(training, (0.0, 0.5), examples=50))
    assert result["resnet_values"].shape == result["resnet_first_values"].shape == (1, 2, 8)
    assert result["resnet_course"].shape == (1, 2, 3, 8)
    assert result["course_steps"].tolist() == [0, 2, 4]
    # Both rates start from one network.
    np.testing.assert_array_equal(*result["resnet_course"][0, :, 0])
    # Same start and images: the masks alone make the difference.
    assert np.ptp(result["resnet_values"], axis=1).max() > 0
    assert ((result["resnet_counts"] >= 1) & (result["resnet_counts"] <= 8)).all()
    figure = registry()["survey_dropout_resnet"].draw(result, None)
    readable(figure)
    assert "digits, 64 images" in figure.get_suptitle()
    with pytest.raises(ValueError, match="network is 'vgg'; allowed is 'resnet'"):
        ImageDropoutSetting(small("vgg"))


def test_the_teacher_has_the_rank():
    import jax

    values = np.linalg.svd(np.asarray(teacher(jax.random.key(1), 8, 3)), compute_uv=False)
    assert count(values, 1e-5) == 3


@pytest.mark.thorough  # the example of update_spectra
def test_a_run_is_reproducible_and_starts_at_zero(networks):
    again = update_spectra(small("dln", loss="squared"))
    np.testing.assert_array_equal(again["values"], networks["dln_values"])
    values = networks["dln_values"]
    assert values.shape == (1, 3, 16) and (values[:, 0] == 0).all() and (values[:, 1:] > 0).any()
    np.testing.assert_allclose(networks["dln_initial"], 1, atol=1e-5)  # an orthogonal start
    assert networks["dln_steps"].tolist() == [0, 2, 4]
    assert np.isfinite(networks["dln_losses"][1:]).all()
    assert 0 <= networks["vit_accuracy"] <= 1


def test_the_values_are_those_of_the_change():
    # One step of SGD from a known start: the change is the rate times the gradient, of rank at
    # most the batch.
    one = small("mlp", rows=4, batch_size=4, epochs=1, snapshots=1)
    first, second = (
        update_spectra(dataclasses.replace(one, learning_rate=rate))["values"][0, 1]
        for rate in (0.1, 0.2)
    )
    np.testing.assert_allclose(second, 2 * first, atol=1e-5)
    assert count(first, 1e-3) <= 4


@pytest.mark.thorough  # the layers of a network are told apart below
def test_layers_of_a_transformer():
    recipe = registry()["survey_vit_layers"]
    arrays = recipe.experiment(small("vit"))
    assert arrays["fc2_values"].shape == (2, 3, 8) == arrays["value_values"].shape
    assert arrays["fc2_paths"].tolist() == ["layer.0.output", "layer.1.output"]
    readable(recipe.draw(arrays, None))


@pytest.mark.parametrize("optimiser", ["gd", pytest.param("adam", marks=pytest.mark.thorough)])
def test_few_directions_of_a_factor_move(optimiser):
    rate = {"gd": 1.0, "adam": 0.01}[optimiser]
    setting = FactorsSetting(
        size=12, rank=2, optimiser=optimiser, learning_rate=rate, steps=41, snapshots=4
    )
    result = deep_factors(setting)
    assert result["steps"].tolist() == [1, 11, 21, 31, 41]
    assert result["values"].shape == (5, 12) and result["largest"].shape == (5, 2)
    assert result["error"][-1] < result["error"][0]
    assert result["left_largest"].shape == (5, 2) and result["left_middle"][0] < 1e-9
    others = result["values"][:, 2:-2]
    if optimiser == "gd":
        # Theorem 2: one value, to rounding in float32, and a subspace that stays.
        assert np.ptp(others, axis=1).max() < 1e-5 and result["middle"].max() < 0.1
        assert result["left_middle"].max() < 0.1
    else:
        assert np.ptp(others[-1]) > 1e-3
    readable(registry()["survey_adaptation"].draw(result, setting))


def test_the_change_of_a_product_starts_at_zero():
    options = {"size": 12, "rank": 2, "optimiser": "adam", "learning_rate": 1e-6, "steps": 2}
    whole, change = (
        deep_factors(FactorsSetting(**options, snapshots=1, change=change))["error"]
        for change in (False, True)
    )
    np.testing.assert_allclose(change, 1, atol=1e-4)
    assert np.abs(whole - 1).min() > 0.01


@pytest.mark.thorough  # test_vision.py
def test_the_value_matrix_is_that_of_the_last_layer():
    from safetensors.numpy import load_file

    folder = DATA / "bert"
    stored = load_file(folder / "model.safetensors")
    names = sorted(n for n in stored if n.endswith("attention.self.value.weight"))
    np.testing.assert_array_equal(value_matrix(folder), stored[names[-1]].T)
    result = deep_factors(FactorsSetting(rank=1, steps=3, snapshots=1, model=str(folder)))
    assert result["values"].shape == (2, *stored[names[-1]].shape[:1])
    with pytest.raises(ValueError, match=r"it has no attention\.self\.value"):
        value_matrix(DATA / "distilbert")


def test_penultimate_matrices():
    for network in SIZES:
        setting = small(network)
        config = config_of(setting, images.load("digits"))
        path = spectra.penultimate(config)
        assert (
            path
            == {
                "dln": "layers.1",
                "mlp": "layers.1",
                "vgg": "classifier.0",
                "vit": "layer.1.output",
            }[network]
        )


@pytest.mark.thorough  # other networks by examples
def test_a_vgg_is_trained_as_published():
    result = update_spectra(small("vgg", momentum=0.9, weight_decay=5e-4, cosine=True))
    assert result["values"].shape == (1, 3, 12) and np.isfinite(result["values"]).all()


@pytest.mark.thorough  # figures of other recipes below
@pytest.mark.parametrize("name", ["survey_updates", "survey_dropout"])
def test_figures_are_readable(networks, rates, name):
    arrays = networks if name == "survey_updates" else rates
    figure = registry()[name].draw(arrays, None)
    readable(figure)
    if name == "survey_dropout":
        assert "linear teacher" in figure.get_suptitle() and "1 seed" in figure.get_suptitle()
    else:
        assert "digits, 64 images" in figure.axes[0].get_title()


@pytest.mark.thorough  # a figure is drawn below
def test_arrays_of_earlier_versions_are_drawn(rates):
    new = ("first", "course")
    old = {k: v for k, v in rates.items() if not any(word in k for word in new)}
    figure = registry()["survey_dropout"].draw(old, None)
    assert len(figure.axes) == 4 and len(registry()["survey_dropout"].draw(rates, None).axes) == 8
    setting = FactorsSetting(size=12, rank=2, steps=5, snapshots=2)
    result = deep_factors(setting)
    older = {k: v for k, v in result.items() if not k.startswith("left")}
    drawn = [registry()["survey_factors"].draw(arrays, setting) for arrays in (result, older)]
    assert [len(figure.axes) for figure in drawn] == [3, 2]


def test_scales(tmp_path):
    recipe = registry()["survey_updates"]
    assert {one.task for one in recipe.scale("paper").setting} == {"digits"}
    (tmp_path / "mnist.npz").touch()
    (tmp_path / "cifar10_jpeg").mkdir()
    paper = {one.network: one for one in recipe.scale("paper", 3, tmp_path).setting}
    assert paper["dln"].task == "mnist" and paper["vit"].task == "cifar10"
    assert (paper["dln"].loss, paper["dln"].learning_rate) == ("squared", 0.01)
    assert (paper["vit"].batch_size, paper["vit"].learning_rate) == (512, 1e-5)
    assert paper["vgg"].weight_decay == 5e-4 and paper["vgg"].cosine and paper["vgg"].seed == 3
    assert all(one.rows is not None for one in recipe.scale("quick", None, tmp_path).setting)
    resnet = registry()["survey_dropout_resnet"].scale("paper").setting.training
    assert (resnet.optimiser, resnet.learning_rate, resnet.batch_size) == ("sgd", 0.01, 768)
    assert (resnet.momentum, resnet.weight_decay, resnet.cosine) == (0, 0, False)
    published = registry()["survey_dropout"].scale("paper").setting
    assert (published.batch_size, published.loss, published.width) == (1024, "mean", 20)
    with pytest.raises(ValueError, match="scale is 'huge'"):
        recipe.scale("huge")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DropoutSetting(rates=(1.0,)), r"rates has 1.0; allowed are numbers in \[0, 1\)"),
        (lambda: DropoutSetting(rank=21), "rank"),
        (lambda: ImageSetting(network="gpt"), "network"),
        (
            lambda: update_spectra(small("dln", loss="squared", learning_rate=1e9, epochs=9)),
            "learning_rate is 1000000000.0; with it the loss of the dln is not finite",
        ),
        (lambda: update_spectra(small("mlp"), "fc9"), "pattern is 'fc9'; it matches none of la"),
        (lambda: update_spectra(small("mlp", snapshots=9)), "snapshots is 9; allowed are at most"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
