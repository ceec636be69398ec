"""Every method on the spans of SQuAD: a run, its scores from its files too, and a merged model."""

import json

import pytest

from finetune.methods import NAMES, OPTIONS
from finetune.weights.files import open_file
from tests.finetune.tasks.squad import published
from tests.launch.commands import command
from tests.launch.test_squad_spans import SMALL, flags, model

STEPS = 20  # ranks grow and fall, links are frozen
# LoRA's runs are those of test_squad_spans; methods are trained on other tasks by default.
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("squad")
    model(root / "bert")
    published.write(root, published.drawn(12), published.drawn(8, 1))
    return root


@pytest.mark.parametrize("name", NAMES)
def test_a_method_trains_and_is_read_back(name, folder, tmp_path):
    given = [f"--method={name}", *SMALL[2:], f"--steps={STEPS}", f"--workdir={tmp_path}/run"]
    given += [f"--evaluate_every={STEPS}"]
    given += ["--rank=2"] if name in OPTIONS["rank"].methods else []
    assert command("train", *flags(folder, "squad"), *given) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["metric"] == "f1" and 0 <= result["scores"]["f1"] <= 1
    given = [f"--workdir={tmp_path}/run", f"--json={tmp_path}/scores.json"]
    assert command("evaluate", *given) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]
    assert scores == pytest.approx(result["scores"])
    export = [f"--workdir={tmp_path}/run", "--format=merged", f"--output={tmp_path}/merged"]
    assert command("export", *export) == 0
    merged = open_file(tmp_path / "merged/model.safetensors")
    assert merged["qa_outputs.weight"].shape == (2, 16)
