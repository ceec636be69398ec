"""Presets run what their numbers stand for: ranks, variants and epochs as published."""

import pathlib

import pytest
from absl import flags

from launch.comparing import grid, presets
from launch.comparing.config import CompareConfig
from launch.shell import config_flags
from tests.launch.commands import defined

PRESETS = pathlib.Path(__file__).parents[3] / "recipes" / "presets"
MODULES = {
    "microsoft/deberta-v3-base": 72,
    "google-t5/t5-base": 192,
    "meta-llama/Llama-2-7b-hf": 224,
    "distilbert/distilbert-base-uncased": 12,
    "sentence-transformers/all-MiniLM-L6-v2": 36,
}


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """(name of a preset, *flags) -> {(task, method): TrainConfig}."""
    monkeypatch.setattr(grid, "_modules", lambda base, revision, pattern: MODULES[base])

    def parsed(name, *given):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["compare", f"--preset={PRESETS / name}.json", f"--workdir={tmp_path}", *given])
        cells = config_flags.parsed(CompareConfig).grid().cells()
        return {(cell.task, cell.method): cell.final[0, None] for cell in cells}

    with defined("compare"):
        yield parsed


def options(config):
    return config.method_config().settings


def test_the_essays_table(settings):
    result = settings("essay")
    assert len(result) == 8 * 8
    for task in ("rte", "mnli"):
        ranks = {m: options(result[task, m]).rank for m in ("lora", "sora", "debora", "adapad")}
        assert ranks == {"lora": 2, "sora": 4, "debora": 4, "adapad": 4}
        budgets = {options(result[task, m]).budget for m in ("adapad", "adalora", "increlora")}
        assert budgets == {144}
        assert options(result[task, "adapad"]).phase == "split"
    # AdaPaD grows as its tasks' files say; they are recipes of this method, and of no other.
    adapad = options(result["rte", "adapad"])
    assert (adapad.grow, adapad.every) == (5, 100)
    assert options(result["rte", "increlora"]).every is None


def test_a_budget_on_the_command_line_holds_for_every_method(settings):
    result = settings("essay", "--budget=216")
    assert {options(result["rte", m]).rank for m in ("lora", "sora", "debora")} == {3}


def test_the_talks_tables(settings):
    for name, task, gamma in (("talk_t5", "mrpc", None), ("talk_llama", "gsm8k", 64.0)):
        result = settings(name)
        one = options(result[task, "loraone"])
        assert (one.rank, one.variant, one.sign, one.gamma) == (8, "talk", "-grad", gamma)
        assert one.preconditioned and not one.bias_correction
        assert options(result[task, "rslora"]).rank == options(result[task, "loraga"]).rank == 8
    result = settings("talk_t5", "--budget=6144")
    assert options(result["cola", "loraone"]).rank == options(result["cola", "rslora"]).rank == 32
    step = result["cola", "onestep"]
    # The whole gradient has no rank to match, and nothing is trained after it.
    assert options(step).rank == 0 and step.loop_config(per_epoch=267).steps == 1


def test_the_notes_bars(settings):
    result = settings("distilbert")
    epoch = 2105
    lengths = {
        method: config.loop_config(epoch).steps // epoch for (_, method), config in result.items()
    }
    assert lengths == {"joint_3": 14, "sequential_1": 26, "sequential_2": 35, "sequential_3": 36}
    stages = options(result["sst2", "sequential_3"]).steps(36 * epoch)
    assert stages == (26 * epoch, 9 * epoch, epoch)
    assert options(result["sst2", "sequential_2"]).steps(35 * epoch) == stages[:2]
    # 67 349 rows in batches of 32: moments and schedule begin anew in every epoch, for all of them.
    assert epoch == -(-67349 // 32)
    assert {config.optimiser_config().renew_every for config in result.values()} == {epoch}
    assert {config.warmup for config in result.values()} == {0.0}


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.json")))
def test_every_published_row_is_a_method_of_its_preset(settings, name):
    cells = settings(name)
    for method, scores in presets.read(PRESETS / f"{name}.json").published.items():
        assert {(task, method) for task in scores} <= set(cells)


def test_averages_are_those_of_the_essay():
    rows = presets.read(PRESETS / "essay.json").rows([])
    averages = {row[1]: row[2] for row in rows if row[0] == presets.AVERAGE}
    published = {"lora": 85.36, "sora": 88.87, "debora": 88.01, "adalora": 89.03}
    published |= {"increlora": 88.99, "adapad": 89.34}
    assert {m: averages[m] for m in published} == pytest.approx(published, abs=0.00501)


def test_the_essays_firsts():
    rows = presets.read(PRESETS / "essay.json").rows([])
    firsts = {row[1]: row[2] for row in rows if row[0] == presets.FIRST}
    assert sum(firsts.values()) >= 8 and firsts["adapad"] > firsts["lora"]


def test_an_average_needs_every_task():
    preset = presets.Preset("t", ("a", "b"), ("m", "n"), {"m": {"a": 50.0, "b": 60.0}}, ())
    here = [
        (t, m, "accuracy", s, *[None] * 4, 0.5) for t, m, s in (("a", "m", 0.4), ("a", "n", 0.2))
    ]
    rows = preset.rows(here)
    assert [row for row in rows if row[0] == presets.AVERAGE] == [
        ("average", "m", 55.0, None, None)
    ]
    firsts = {row[1]: row[2:4] for row in rows if row[0] == presets.FIRST}
    assert firsts == {"m": (2, 1), "n": (None, 0)}
    one = presets.Preset("t", ("a",), ("m",), {"m": {"a": 50.0}}, ())
    assert all(row[0] == "a" for row in one.rows(here))
