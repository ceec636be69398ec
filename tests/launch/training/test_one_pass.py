"""A pass has as many rows as the run had room for, unless others are asked for."""

import json

import pytest

from launch.training import one_pass
from tests.launch.commands import command


@pytest.mark.parametrize(
    ("asked", "there", "rows"),
    [(None, {"eval_batch_size": 8}, 8), (5, {"eval_batch_size": 8}, 5), (None, {}, 128)],
)
def test_rows_of_a_pass(tmp_path, asked, there, rows):
    (tmp_path / "config.json").write_text(json.dumps(there))
    assert one_pass.rows(asked, str(tmp_path)) == rows


def test_an_adapter_of_elsewhere_has_no_run():
    assert one_pass.rows(None, None) == 128


def test_an_evaluation_has_the_passes_of_its_run(tmp_path, monkeypatch):
    common = ["--task=digits", "--method=head", "--steps=1", "--eval_batch_size=40"]
    assert command("train", *common, f"--workdir={tmp_path}/run") == 0
    shapes = []
    whole = one_pass.answers

    def watched(*arguments):
        shapes.append(arguments[-1])
        return whole(*arguments)

    monkeypatch.setattr(one_pass, "answers", watched)
    assert command("evaluate", f"--workdir={tmp_path}/run") == 0
    assert command("evaluate", f"--workdir={tmp_path}/run", "--eval_batch_size=90") == 0
    assert shapes == [40, 90]
