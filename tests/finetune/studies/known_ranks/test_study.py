"""The made problem has the ranks it says, a study of it is resumed, and its numbers are right."""

import dataclasses

import jax
import numpy as np
import pytest

from finetune.models.initialise import initialise
from finetune.studies.known_ranks import figures, study, teacher
from finetune.studies.known_ranks.registry import registry
from finetune.studies.known_ranks.study import KnownRanksSetting
from finetune.studies.known_ranks.training import LOOKS
from finetune.weights import saving

SMALL = teacher.TeacherSetting(
    width=8, layers=1, heads=1, inner=8, words=8, length=4, ranks=(1, 3), batch_size=2, held_out=4
)
SETTING = study.KnownRanksSetting(
    SMALL, steps=2 * LOOKS, most=3, rates=(0.01,), seeds=(0, 1), contenders=("lora", "oracle")
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return study.known_ranks(SETTING, folder), folder


def test_the_changes_have_the_ranks_that_are_dealt():
    net = teacher.base(SMALL)
    problem = teacher.draw(SMALL, net, jax.random.key(3))
    ranks = [
        int(np.linalg.matrix_rank(problem.changed[name] - problem.params[name], tol=1e-4))
        for name in (f"{path}.weight" for path in net.adapted())
    ]
    assert ranks == problem.ranks.tolist() and sorted(ranks) == [1, 1, 1, 3, 3, 3]
    untouched = {f"{path}.weight" for path in net.adapted()}
    for name, leaf in problem.params.items():
        assert name in untouched or np.array_equal(leaf, problem.changed[name])
    assert float(problem.size) > 0


def test_a_pretrained_base_is_kept_and_its_changes_are_in_its_own_size(tmp_path):
    saving.save(tmp_path, initialise(SMALL.config, jax.random.key(5)))
    setting = dataclasses.replace(SMALL, model=str(tmp_path), inner=1, layers=1)
    net = teacher.base(setting)
    one, other = (teacher.draw(setting, net, jax.random.key(seed)) for seed in (3, 4))
    assert one.params is net.params is other.params
    assert {len(p.ranks) for p in (one, other)} == {6} and (one.ranks != other.ranks).any()
    for path, rank in zip(net.adapted(), one.ranks.tolist(), strict=True):
        kernel = np.asarray(one.params[f"{path}.weight"])
        values = np.linalg.svd(one.changed[f"{path}.weight"] - kernel, compute_uv=False)
        largest = np.linalg.norm(kernel, 2)
        np.testing.assert_allclose(values[:rank], SMALL.strength * largest, rtol=1e-4)
        assert values[rank:].max() < 1e-4 * largest
    with pytest.raises(ValueError, match="words is 9; allowed are integers from 1 to 8"):
        teacher.base(dataclasses.replace(setting, words=9))


def test_the_figure_of_a_model_has_its_sizes(tmp_path):
    deeper = dataclasses.replace(SMALL, layers=2, length=teacher.TeacherSetting().length)
    saving.save(tmp_path, initialise(deeper.config, jax.random.key(5)))
    recipe = registry()["known_ranks"]
    setting = recipe.scale("quick", model=str(tmp_path)).setting
    assert (setting.teacher.width, setting.teacher.words) == (8, 8)
    arrays = recipe.experiment(setting)
    assert arrays["contenders"].tolist() == ["oracle", "lora"] and arrays["true"].sum() == 2 * 24
    # Results of drawn bases that were stored before there was a choice are read as before.
    assert KnownRanksSetting().fingerprint("lora") == "378994a3"


def test_every_contender_meets_the_same_problems(measured):
    arrays, _ = measured
    assert arrays["losses"].shape == (2, 2, LOOKS) and np.isfinite(arrays["losses"]).all()
    assert np.array_equal(*arrays["true"])
    assert arrays["true"].sum(axis=-1).tolist() == [[12, 12], [12, 12]]
    # The oracle has the ranks; who does not know them spends the same budget.
    assert np.array_equal(arrays["ranks"][1], arrays["true"][1])
    assert arrays["ranks"][0].sum(axis=-1).tolist() == [12, 12]
    assert (arrays["losses"][1, :, -1] < arrays["losses"][1, :, 0]).all()


def test_what_is_finished_is_read_and_not_measured(measured, monkeypatch):
    arrays, folder = measured
    monkeypatch.setattr(study, "program", None)
    more, ticks = dataclasses.replace(SETTING, contenders=("oracle",)), []

    def progress(items, total, label):
        assert (total, label) == (2, "runs")
        for item in items:
            ticks.append(item)
            yield item

    again = study.known_ranks(more, folder, progress)
    assert np.array_equal(again["losses"][0], arrays["losses"][1]) and ticks == [0, 1]
    with pytest.raises(TypeError):  # another setting is another study
        study.known_ranks(dataclasses.replace(more, steps=LOOKS), folder)


def test_a_budget_that_no_rank_for_all_spends_is_refused():
    odd = dataclasses.replace(SMALL, ranks=(1, 1, 1, 1, 1, 2))
    with pytest.raises(ValueError, match="ranks of 6 modules add up to 7; allowed are multiples"):
        study.known_ranks(dataclasses.replace(SETTING, teacher=odd, contenders=("lora",)))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steps": LOOKS + 1}, f"allowed are multiples of {LOOKS}"),
        ({"most": 2}, "most is 2; allowed are integers >= 3"),
        ({"contenders": ("lora", "nobody")}, "contenders is 'nobody'; allowed are "),
        ({"seeds": ()}, "seeds is empty; allowed is at least one"),
    ],
)
def test_settings_outside_their_range_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(SETTING, **options)


def made_up():
    """Three contenders on three problems: one at half of lora's error, one at twice."""
    last = np.array([[0.2, 0.4, 0.3], [0.1, 0.2, 0.15], [0.4, 0.8, 0.6]])
    true = np.broadcast_to([2, 1, 1], (3, 3, 3))
    ranks = np.stack([np.ones((3, 3), int), true[0], np.tile([1, 1, 4], (3, 1))])
    return {
        "contenders": np.array(["lora", "adapad", "sora"]),
        "seeds": np.arange(3),
        "losses": last[..., None] * np.linspace(2, 1, LOOKS),
        "ranks": ranks,
        "true": true,
        "rates": np.array([0.01, 0.02, 0.01]),
        "at_edge": np.array([False, True, False]),
        "steps": np.array([400, 400, 800]),
        "seconds": np.array([1e-3, 2e-3, 1e-3]),
    }


def test_ratios_are_paired_and_hits_count_what_is_too_much():
    arrays = made_up()
    ratios = figures.ratios(arrays)
    np.testing.assert_allclose(ratios["adapad"], 0.5)  # the same on every problem: no width
    np.testing.assert_allclose(ratios["sora"], 2)
    assert figures.hits(arrays)[:, 0].tolist() == [0.75, 1.0, 0.5]
    header, rows = figures.table(arrays)
    assert [row[0] for row in rows] == ["adapad", "lora", "sora"]
    first = dict(zip(header, rows[0], strict=True))
    assert (first["ms"], first["s"], first["rate"]) == (2.0, 0.8, "0.02*")


def test_the_figure_says_who_is_below_and_who_above():
    figure = figures.known_ranks(made_up())
    said = figure.get_supxlabel()
    assert said == "error below that of lora (95%, paired): adapad\nabove: sora"
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 5]


def test_one_problem_leaves_no_interval():
    arrays = {
        name: value[:, :1] if name in ("losses", "ranks", "true") else value
        for name, value in made_up().items()
    }
    assert figures.ratios(arrays)["adapad"] == pytest.approx((0.5, 0, np.inf))
    assert "95%, paired): none" in figures.known_ranks(arrays).get_supxlabel()
