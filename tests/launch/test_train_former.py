"""A run that was begun when a method had other defaults goes on with these, and only if asked."""

import json

from tests.launch.commands import command

FLAGS = ["--method=adapad", "--hidden_size=16", "--rank=2", "--checkpoint_every=2"]
FORMER = ["--phase=parallel", "--score=effective", "--private_every=1"]


def test_former_defaults_have_to_be_said(tmp_path, capsys):
    folder = tmp_path / "run"
    run = [*FLAGS, f"--workdir={folder}"]
    assert command("train", *run, *FORMER, "--steps=2", "--schedule=constant") == 0
    # A configuration as it was written then: with the options that were given alone.
    path = folder / "config.json"
    config = json.loads(path.read_text())
    options = {"rank": 2, "phase": "parallel", "score": "effective", "private_every": 1}
    assert config["method_options"] == options
    config["method_options"] = {"rank": 2}
    path.write_text(json.dumps(config))
    before = (folder / "adapter.safetensors").read_bytes()
    capsys.readouterr()
    assert command("train", *run, "--steps=4", "--schedule=constant") == 2
    err = capsys.readouterr().err
    assert "with --phase=parallel, not joint; with --score=effective, not decrease" in err
    assert "with --private_every=1, not 2" in err
    assert err.count("\n") == 1 and (folder / "adapter.safetensors").read_bytes() == before
    assert command("train", *run, *FORMER, "--steps=4", "--schedule=constant", "--every=2") == 2
    capsys.readouterr()
    assert command("train", *run, *FORMER, "--steps=2", "--schedule=constant") == 0
    assert (folder / "adapter.safetensors").read_bytes() == before
    # And as the next version wrote it.
    config["method_options"] = {"rank": 2, "phase": "joint", "score": "decrease"}
    path.write_text(json.dumps(config))
    capsys.readouterr()
    assert command("train", *run, "--steps=4", "--schedule=constant") == 2
    err = capsys.readouterr().err
    assert "with --private_every=1, not 2" in err and "--phase" not in err
