"""A run whose layers are one loop: the run of each layer by itself, and its checkpoints."""

import json

import numpy as np
import pytest

from finetune.training import adapter_files
from tests.launch.commands import command
from tests.launch.texts import made


def test_a_run_has_its_layers_together(tmp_path):
    flags = [*made(tmp_path), "--method=lora", "--rank=2", "--steps=1", "--scan=2"]
    assert command("train", *flags, f"--workdir={tmp_path}/run") == 0
    assert json.loads((tmp_path / "run/result.json").read_text())["layers_together"] == [2]
    paths = adapter_files.load(tmp_path / "run/adapter.safetensors").modules
    assert {path.split("layer.")[1][0] for path in paths} == {"0", "1"}


@pytest.mark.thorough  # a packed state takes the same steps in finetune/training/test_depth.py
def test_a_run_goes_on_with_layers_by_themselves(tmp_path):
    # The checkpoint has every layer under its own name, so that either run goes on from it.
    common = [*made(tmp_path), "--method=lora", "--rank=2", "--batch_size=4", "--eval_batch_size=4"]
    common += ["--schedule=constant", "--seed=1"]
    together = []
    for folder, steps, scan in (("looped", 2, 2), ("looped", 3, 0), ("plain", 3, 0)):
        flags = [f"--workdir={tmp_path}/{folder}", f"--steps={steps}", f"--scan={scan}"]
        assert command("train", *common, *flags) == 0
        record = json.loads((tmp_path / folder / "result.json").read_text())
        together.append(record["layers_together"])
    found = [
        adapter_files.load(tmp_path / f"{one}/adapter.safetensors") for one in ("looped", "plain")
    ]
    assert together == [[2], [], []]
    one, each = (adapter.modules for adapter in found)
    assert list(one) == list(each)
    for path, factors in each.items():
        for mine, wanted in zip(one[path], factors, strict=True):
            # Adam divides by the root of squares: rounding of small gradients is that of a step.
            np.testing.assert_allclose(mine, wanted, atol=1e-4)
