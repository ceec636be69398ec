"""A guard for each known way in which a comparison misleads, by its row in the list of pitfalls."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finetune import peft
from finetune.methods import NAMES, OPTIONS, MethodConfig
from finetune.models import read_config
from finetune.tasks import load
from launch.comparing import table as comparison
from tests.finetune.models.tiny import DATA
from tests.finetune.training import small
from tests.launch.commands import command

ADAPTIVE = sorted(OPTIONS["budget"].methods)
SMALL = ["--task=digits", "--hidden_size=16", "--steps=6"]


def record(folder):
    return json.loads((folder / "result.json").read_text())


# With a head that is trained tests/launch/test_train.py looks at the files of a run.
@pytest.mark.thorough  # printed: test_train.py
@pytest.mark.parametrize(
    ("head", "moves"),
    [("train", True), ("freeze", False)],
)
def test_row_18_whether_the_head_is_trained_stands_in_the_result(head, moves, tmp_path):
    flags = [*SMALL, "--method=lora", f"--head={head}", f"--workdir={tmp_path}/w"]
    assert command("train", *flags) == 0
    result = record(tmp_path / "w")
    assert result["head"] == head and (result["head_parameters"] > 0) == moves
    tensors = load_file(tmp_path / "w" / "adapter.safetensors")
    assert any(name.startswith("head.") for name in tensors) == moves


def test_row_19_scores_are_of_all_rows_of_one_split(tmp_path):
    flags = [*SMALL, "--method=head", f"--workdir={tmp_path}/w"]
    assert command("train", *flags) == 0
    assert command("evaluate", f"--workdir={tmp_path}/w", f"--json={tmp_path}/s.json") == 0
    scored = json.loads((tmp_path / "s.json").read_text())
    result = record(tmp_path / "w")
    assert scored["split"] == result["split"]
    assert scored["rows"] == len(load("digits").split("test"))
    assert scored["scores"] == result["scores"]


def test_row_22_the_majority_class_stands_beside_every_score(tmp_path, capsys):
    flags = [*SMALL, "--method=untouched", f"--workdir={tmp_path}/w"]
    assert command("train", *flags) == 0
    counts = np.bincount(load("digits").labels("test"))
    assert record(tmp_path / "w")["majority"] == pytest.approx(counts.max() / counts.sum())
    assert "majority" in capsys.readouterr().out and "majority" in comparison.HEADER


def test_row_23_last_and_best_are_reported_apart_and_the_last_is_compared():
    scores = iter([0.2, 0.9, 0.4])
    run = small.Run("lora", steps=12)
    run.task = type("Falling", (), {})()
    for name in ("batch", "run", "predict", "labels", "evaluation", "metric", "gain"):
        setattr(run.task, name, getattr(small.task(), name))
    run.task.score = lambda predictions, labels: {"accuracy": next(scores)}
    outcome = run.fit()
    assert (outcome.scores["accuracy"], outcome.best, outcome.best_step) == (0.4, 0.9, 8)
    made = {"task": "t", "recipe": "a", "seed": 0, "metric": "accuracy", "majority": 0.5}
    row = comparison.rows([{**made, "score": 0.4, "best_score": 0.9}])[0]
    assert row[comparison.HEADER.index("score")] == 0.4


# What a method does on the way tests/finetune/methods holds.
@pytest.mark.thorough  # tests of each method
@pytest.mark.parametrize("name", ADAPTIVE)
def test_row_24_a_method_with_a_budget_reaches_it(name):
    run = small.Run(MethodConfig(name, rank=3, budget=5), steps=40)
    ranks = run.method.ranks(*run.states()[-1][:2])
    assert sum(map(int, ranks.values())) == 5 and run.traces == 1


def test_row_25_tensors_that_match_no_module_are_refused(tmp_path):
    folder = tmp_path / "a"
    shutil.copytree(DATA / "peft_adapters" / "hetero_deberta", folder)
    config = read_config(folder / "base", labels=2)
    ranks = {path: f.a.shape[1] for path, f in peft.load(folder, config).adapters.items()}
    written = json.loads((folder / "adapter_config.json").read_text())["rank_pattern"]
    assert {path: rank for path, rank in ranks.items() if rank} == written
    tensors = load_file(folder / "adapter_model.safetensors")
    name = next(name for name in tensors if name.endswith("lora_A.weight"))
    tensors[name.replace("layer.0", "layer.7")] = tensors.pop(name)
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"layer\.7"):
        peft.load(folder, config)


# Of all methods `test_loop` counts the traces of runs that are evaluated and resumed, too.
@pytest.mark.thorough  # also in training/test_loop.py
@pytest.mark.parametrize("name", NAMES)
def test_row_26_a_run_is_traced_once(name):
    own = {"rank": 2} if name in OPTIONS["rank"].methods else {}
    run = small.Run(MethodConfig(name, **own), steps=24)
    run.states()
    assert run.traces == 1
