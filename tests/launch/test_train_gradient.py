"""Methods that start from a gradient, as a command: their seconds, seeds, and going on."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from finetune.training import gradient_pass
from launch.shell import app
from launch.training import job as training
from tests.launch.commands import command

SMALL = ["--hidden_size=16", "--steps=12", "--rank=2", "--checkpoint_every=4"]


def run(*flags):
    """The exit status of the command."""
    return command("train", *flags)


def record(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "w"
    assert run("--method=loraone", *SMALL, f"--workdir={folder}") == 0
    return folder


def test_the_seconds_of_the_gradient_are_reported_apart(finished, capsys):
    result = record(finished)
    assert result["gradient_seconds"] > 0 and result["seconds"] > 0
    assert result["ranks"] == {"fc1": 2, "fc2": 2}
    assert run("--method=untouched", SMALL[0], "--steps=1") == 0
    assert "The start from the gradient" not in capsys.readouterr().out
    assert run("--method=onestep", *SMALL, "--steps=1", "--head=freeze") == 0
    assert "The start from the gradient took" in capsys.readouterr().out


def test_a_run_that_goes_on_takes_no_gradient_and_ends_the_same(finished, tmp_path, monkeypatch):
    whole = training.run

    def half(job, saved, restored, report):
        whole(
            job._replace(loop=job.loop.__class__(**{**vars(job.loop), "steps": 8})),
            saved,
            restored,
            report,
        )
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run", half)
    folder = tmp_path / "w"
    assert run("--method=loraone", *SMALL, f"--workdir={folder}") == app.INTERRUPTED
    monkeypatch.setattr(training, "run", whole)

    def never(*arguments):
        raise AssertionError("the gradient is computed again")

    monkeypatch.setattr(gradient_pass, "gradients", never)
    assert run("--method=loraone", *SMALL, f"--workdir={folder}") == 0
    one, two = (f / "adapter.safetensors" for f in (finished, folder))
    assert one.read_bytes() == two.read_bytes()
    assert record(folder)["gradient_seconds"] > 0


@pytest.mark.thorough  # training/test_gradient_pass.py
def test_the_seed_chooses_rows_only_where_asked(tmp_path):
    def start(*flags):
        folder = tmp_path / "-".join(flags)
        options = ["--method=onestep", *SMALL, "--steps=1", "--step_size=0.1", "--head=freeze"]
        assert run(*options, *flags, f"--workdir={folder}") == 0
        return load_file(folder / "adapter.safetensors")["fc1.a"]

    assert np.array_equal(start("--seed=0"), start("--seed=1"))
    drawn = [start("--gradient_shuffled", f"--seed={seed}") for seed in (0, 1)]
    assert not np.array_equal(*drawn)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--method=loraga", "--rank=9"], "rank is 9 with module fc1 of 64 x 16; allowed are"),
        (["--method=loraone", "--rank=32"], "allowed are integers from 1 to 16"),
        (["--method=loraone", "--sign=+grad"], "sign is '+grad' with variant 'public'"),
        (["--method=loraga", "--gradient_batches=9999"], "gradient_batches is 9999 with gradient_"),
        (["--method=lora", "--gradient_batches=2"], "which method 'lora' does not have"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_files(flags, text, tmp_path, capsys):
    assert run(*SMALL[:2], *flags, f"--workdir={tmp_path}/w") == 2
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1 and not (tmp_path / "w").exists()


@pytest.mark.thorough  # test_train.py on two meshes
@pytest.mark.parametrize("method", ["loraga", "deeplora"])
def test_on_several_devices_it_is_the_same_run(method, tmp_path):
    result = []
    for flags in ([], ["--mesh=data:2"]):
        folder = tmp_path / f"w{len(result)}"
        assert run(f"--method={method}", *SMALL, *flags, f"--workdir={folder}") == 0
        result.append(load_file(folder / "adapter.safetensors"))
    assert result[0].keys() == result[1].keys()
    for name, leaf in result[0].items():
        # Adam divides by the root of small second moments, so rounding grows.
        np.testing.assert_allclose(result[1][name], leaf, atol=1e-4 * np.abs(leaf).max())


@pytest.mark.thorough  # finetune/adapters/test_gradient_start.py has the start itself
@pytest.mark.parametrize("method", ["adapad", "parallel", "sequential"])
def test_components_of_deflation_start_from_a_gradient(method, tmp_path, capsys):
    folder = tmp_path / "w"
    flags = [f"--method={method}", "--init=gradient", *SMALL, f"--workdir={folder}"]
    assert run(*flags) == 0
    assert "The start from the gradient took" in capsys.readouterr().out
    assert record(folder)["gradient_seconds"] > 0
    assert run(*flags, "--init_size=0.1") == app.USAGE
    assert "--init_size" in capsys.readouterr().err
