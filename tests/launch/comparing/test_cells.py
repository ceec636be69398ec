"""The runs of a search: what they share, and the choice of a learning rate from their scores."""

import pytest

from launch.comparing import cells
from launch.training import job as training
from tests.launch.commands import command


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 0.1), ("loss", 0.01)])
def test_the_best_score_is_the_least_loss(metric, best):
    scores = {0.001: 2.0, 0.01: 1.0, 0.1: 3.0, 1.0: None}
    tried = {rate: {"metric": metric, "score": score} for rate, score in scores.items()}
    assert cells.ranked(tried)[0] == best and cells.ranked(tried)[-1] == 1.0


@pytest.mark.parametrize(
    ("method", "halvings", "programs"),
    [
        ("lora", 0, 1),
        ("lora", 1, 1),
        ("adapad", 0, 1),
        ("adapad", 1, 1),
        ("adalora", 1, 2),
        ("full", 1, 1),
    ],
)
def test_rates_that_share_a_program_train_what_each_trains_alone(
    tmp_path, monkeypatch, method, halvings, programs
):
    (tmp_path / "easy.flags").write_text("--task=digits\n--hidden_size=16\n--steps=8\n")
    prepare, prepared = training.prepare, []

    def counted(config, *loaded):
        prepared.append(config.workdir)
        return prepare(config, *loaded)

    monkeypatch.setattr(training, "prepare", counted)
    flags = [f"--tasks={tmp_path}/easy.flags", f"--methods={method}", "--search_on=evaluation"]
    flags += [f"--workdir={tmp_path}/out", "--learning_rates=1e-4,1e-2", f"--halvings={halvings}"]
    assert command("compare", *flags) == 0 and len(prepared) == programs
    alone = [f"--flagfile={tmp_path}/easy.flags", f"--method={method}", "--learning_rate=1e-2"]
    assert command("train", *alone, f"--workdir={tmp_path}/alone") == 0
    folders = tmp_path / "alone", tmp_path / f"out/easy.{method}.0.0.01"
    assert len({(folder / "adapter.safetensors").read_bytes() for folder in folders}) == 1
    assert len({(folder / "metrics.jsonl").read_text().count("\n") for folder in folders}) == 1
