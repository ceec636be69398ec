"""A run whose layers are one loop: the run of each layer by itself, and its checkpoints."""

import json

import numpy as np

from finetune.training import adapter_files
from tests.launch.commands import command
from tests.launch.texts import made


def test_a_run_goes_on_with_layers_by_themselves(tmp_path):
    # The checkpoint has every layer under its own name, so that either run goes on from it.
    common = [*made(tmp_path), "--method=lora", "--rank=2", "--batch_size=4", "--eval_batch_size=4"]
    common += ["--schedule=constant", "--seed=1"]
    found, together = [], []
    for first, last in ((2, 0), (0, 0)):
        where = f"--workdir={tmp_path}/run{first}"
        assert command("train", *common, where, "--steps=2", f"--scan={first}") == 0
        record = json.loads((tmp_path / f"run{first}/result.json").read_text())
        together.append(record["layers_together"])
        assert command("train", *common, where, "--steps=3", f"--scan={last}") == 0
        found.append(adapter_files.load(tmp_path / f"run{first}/adapter.safetensors"))
    assert together == [[2], []]
    one, each = (adapter.modules for adapter in found)
    assert list(one) == list(each)
    for path, factors in each.items():
        for mine, wanted in zip(one[path], factors, strict=True):
            # Adam divides by the root of squares: rounding of small gradients is that of a step.
            np.testing.assert_allclose(mine, wanted, atol=1e-4)
