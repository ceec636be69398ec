"""The command: files, the record, resumption, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from finetune.training import adapter_files
from tests.launch import texts
from tests.launch.commands import command

KEYS = [
    "task",
    "model",
    "method",
    "metric",
    "score",
    "best_score",
    "majority",
    "trainable_parameters",
    "ranks",
    "steps",
    "seconds",
]
SMALL = ["--hidden_size=16", "--steps=20", "--rank=2", "--checkpoint_every=5"]
# Its levels are dealt out on devices.
ADAPAD = ["--method=adapad", "--phase=parallel", *SMALL]


def run(*flags):
    """The exit status of the command."""
    return command("train", *flags)


def record(folder):
    return json.loads((folder / "result.json").read_text())


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "w"
    assert run(*ADAPAD, f"--workdir={folder}") == 0
    return folder


def test_the_default_learns_the_digits(tmp_path, capsys):
    assert run("--method=lora", "--steps=150", "--hidden_size=64", f"--workdir={tmp_path}/w") == 0
    result = record(tmp_path / "w")
    assert list(result)[: len(KEYS)] == KEYS
    assert result["score"] > 0.75 > 0.2 > result["majority"]
    assert result["best_score"] >= result["score"] and result["metric"] == "accuracy"
    assert result["trainable_parameters"] == 4 * (64 + 64) * 2 and result["steps"] == 150
    out = capsys.readouterr()
    assert "majority" in out.out and "head train" in out.out and "random, not pretrained" in out.out
    assert "examples/s" in out.err and len(out.err.splitlines()) < 40


@pytest.mark.parametrize(("budget", "said"), [(4, True), (3, False)])
def test_a_budget_that_leaves_no_choice_is_said(tmp_path, capsys, budget, said):
    own = ["--method=adapad", f"--budget={budget}", "--steps=4", f"--workdir={tmp_path}/w"]
    assert run(*SMALL, *own) == 0
    note = "Note: --budget=4 is the --rank=2 of each of 2 modules, so that no ranks are chosen"
    assert (note in capsys.readouterr().out) is said


def test_a_run_leaves_its_files(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"config.json", "metrics.jsonl", "result.json", "adapter.safetensors"} <= names
    assert {"curves.png", "ranks.png", "ranks.svg", "checkpoints"} <= names
    assert not [name for name in names if "part" in name]
    result = record(finished)
    assert sum(result["ranks"].values()) == 4 and result["trainable_parameters"] > 0
    tensors = load_file(finished / "adapter.safetensors")
    assert tensors["fc1.a"].shape == (64, result["ranks"]["fc1"])
    assert tensors["head.fc3.weight"].shape == (16, 10)
    size = sum(leaf.size for name, leaf in tensors.items() if not name.startswith("head."))
    assert size == result["trainable_parameters"]


def test_a_finished_run_gives_the_same_answer_again(finished, tmp_path):
    before, adapter = record(finished), (finished / "adapter.safetensors").read_bytes()
    assert run(*ADAPAD, f"--workdir={finished}") == 0
    assert (finished / "adapter.safetensors").read_bytes() == adapter
    again = record(finished)
    assert {**again, "seconds": 0} == {**before, "seconds": 0}


def test_a_killed_command_resumes_to_the_same_adapter(finished, tmp_path):
    folder = tmp_path / "w"
    flags = [*ADAPAD, f"--workdir={folder}"]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(jax.device_count())}
    child = subprocess.Popen(
        [sys.executable, "-m", "launch.train", *flags],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    saved = folder / "checkpoints"
    while child.poll() is None and time.monotonic() < deadline:
        if saved.is_dir() and any(path.name.isdigit() for path in saved.iterdir()):
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(0.001)
    assert child.wait() == -signal.SIGKILL, "the kill came too late to prove anything"
    assert not (folder / "result.json").exists()
    assert run(*flags) == 0
    one, two = ((where / "adapter.safetensors").read_bytes() for where in (finished, folder))
    assert one == two


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--learning_rate=0.1"], "holds a run with --learning_rate=0.003, not 0.1"),
        (["--method=lora"], "holds a run with --method=adapad, not lora"),
        (["--seed=1"], "holds a run with --seed=0, not 1"),
    ],
)
def test_another_configuration_is_refused_and_nothing_is_overwritten(finished, flags, text, capsys):
    before = files(finished)
    begun_with = [] if "--method=lora" in flags else ADAPAD
    assert run(*begun_with, *SMALL, *flags, f"--workdir={finished}") == 2
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1
    assert files(finished) == before


@pytest.mark.thorough  # test_evaluate.py and test_compare.py
def test_a_run_does_not_go_on_with_other_rows(tmp_path, capsys):
    flags = [
        *texts.made(tmp_path, layers=1),
        "--method=lora",
        "--rank=2",
        "--steps=4",
        "--batch_size=2",
    ]
    flags = [*flags, "--window=1", f"--workdir={tmp_path}/w"]
    assert run(*flags) == 0
    data = record(tmp_path / "w")["data"]
    about = adapter_files.load(tmp_path / "w" / "adapter.safetensors").about
    assert set(data) == {"train", "heldout"} and about["data"] == data
    assert run(*flags) == 0  # what did not change goes on
    capsys.readouterr()
    before, data = files(tmp_path / "w"), tmp_path / "data.csv"
    data.write_text(data.read_text().replace(",a", ",c").replace(",b", ",a"))
    assert run(*flags) == 2
    err = capsys.readouterr().err
    assert "belongs to a run with rows of split 'train'" in err and err.count("\n") == 1
    assert "go on with what it began with, or begin in another folder" in err
    assert files(tmp_path / "w") == before


def test_checkpoints_of_another_run_are_refused(finished, tmp_path, capsys):
    (tmp_path / "w").mkdir()
    os.symlink(finished / "checkpoints", tmp_path / "w" / "checkpoints")
    assert run("--method=lora", *SMALL, f"--workdir={tmp_path}/w") == 2
    err = capsys.readouterr().err
    assert "belongs to a run with method 'adapad'; allowed here is 'lora'" in err
    assert err.count("\n") == 1 and [p.name for p in (tmp_path / "w").iterdir()] == ["checkpoints"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--steps=5", "--epochs=1"], "--steps and --epochs"),
        (["--budget=3", "--method=lora"], "budget is 3, which method 'lora' does not have"),
        (["--rank=4", "--budget=99"], "budget is 99; allowed are integers from 2 to 8"),
        (["--modules=query"], "modules is 'query', which no linear map matches"),
        (["--modules=fc3"], "--modules has fc3, which --head=train trains whole"),
        (["--batch_size=9", "--accumulate=2"], "allowed are multiples of 2, --accumulate=2 times"),
        (["--batch_size=9", "--mesh=data:2"], "allowed are multiples of 2, --accumulate=1 times 2"),
        (
            ["--mesh=level:64", "--method=parallel"],
            "devices of mesh level:64 is 64; allowed are integers from 1 to",
        ),
        (["--mesh=rows:2"], "mesh has 'rows:2'; allowed are level:N, data:N and shard:N"),
        (["--mesh=level:2,shard:2"], "mesh has level and shard; allowed is one of them"),
        (["--batch_size=9", "--mesh=shard:2"], "allowed are multiples of 2, --accumulate=1 times"),
        (["--remat"], "remat is True; MLP has no transformer layers to compute again"),
        (["--distributed=here"], "distributed is 'here'; allowed are 'auto', HOST:PORT/"),
        (["--path=1,x", "--method=sequential"], "path is 1,x; allowed are numbers"),
        (["--task=cola", "--model=/absent/model"], "/absent/model"),
        (["--head=gone"], "--head=gone"),
        (
            ["--renew_every=3", "--method=galore"],
            "--renew_every is 3 with --method=galore; allowed are the methods full, head, lora,",
        ),
    ],
)
def test_mistakes_are_one_line(flags, text, capsys):
    assert run(*flags) == 2
    err = capsys.readouterr().err
    assert text in err and err.count("\n") == 1


# On four devices of data alone it is begun below.
@pytest.mark.parametrize(
    "mesh",
    [
        "level:2,data:2",
        # Kernels in shards are held by tests/finetune/training/test_sharding.py.
        pytest.param("data:2,shard:2", marks=pytest.mark.thorough),
        pytest.param("data:4", marks=pytest.mark.thorough),
    ],
)
def test_on_several_devices_it_is_the_same_run(finished, tmp_path, mesh):
    folder = tmp_path / "w"
    assert run(*ADAPAD, f"--mesh={mesh}", f"--workdir={folder}") == 0
    one, two = (load_file(where / "adapter.safetensors") for where in (finished, folder))
    assert one.keys() == two.keys()
    for name, leaf in one.items():
        # Adam divides by the root of small second moments, so rounding grows.
        np.testing.assert_allclose(two[name], leaf, atol=1e-5)
    # From the checkpoint of the last step, on the same devices.
    before = (folder / "adapter.safetensors").read_bytes()
    assert run(*ADAPAD, f"--mesh={mesh}", f"--workdir={folder}") == 0
    assert (folder / "adapter.safetensors").read_bytes() == before


@pytest.mark.thorough  # several devices above, resuming too
def test_a_run_of_four_devices_goes_on_on_one(finished, tmp_path):
    folder = tmp_path / "w"
    assert run(*ADAPAD, "--mesh=data:4", f"--workdir={folder}") == 0
    shutil.rmtree(folder / "checkpoints" / "20")  # as if it had been killed before
    assert run(*ADAPAD, f"--workdir={folder}") == 0
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == sorted(steps) and steps[-1] == 20
    one, two = (load_file(where / "adapter.safetensors") for where in (finished, folder))
    for name, leaf in one.items():
        np.testing.assert_allclose(two[name], leaf, atol=1e-5)


# Their state is dealt out with level, and only their rows with data.
@pytest.mark.parametrize("mesh", ["level:2", pytest.param("data:2", marks=pytest.mark.thorough)])
def test_two_processes_train_as_one(finished, tmp_path, mesh):
    # One device each, see `launch.shell.distributed`.
    folder = tmp_path / "w"
    flags = [*ADAPAD, f"--mesh={mesh}", f"--workdir={folder}"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-m", "launch.train", *flags, "--distributed=local/2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("majority") == 1  # one of them prints
    one, two = (load_file(where / "adapter.safetensors") for where in (finished, folder))
    for name, leaf in one.items():
        np.testing.assert_allclose(two[name], leaf, atol=1e-5)


def test_a_run_that_diverges_says_where(tmp_path, capsys):
    flags = ["--method=lora", "--optimiser=sgd", "--clip=0", "--learning_rate=1e30", *SMALL]
    assert run(*flags, f"--workdir={tmp_path}/w") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "in step" in err and "checkpoint" in err
    assert not (tmp_path / "w" / "result.json").exists()


# From a base that was trained whole tests/launch/test_train_full.py holds it.
@pytest.mark.thorough
def test_a_path_of_the_sequential_paper_on_a_frozen_head(tmp_path):
    flags = ["--method=sequential", "--path=1,3", "--head=freeze", "--modules=fc"]
    assert run(*flags, "--steps=8", "--hidden_size=16", f"--workdir={tmp_path}/w") == 0
    result = record(tmp_path / "w")
    assert result["ranks"] == {"fc1": 2, "fc2": 2, "fc3": 2} and result["head_parameters"] == 0
    lines = (tmp_path / "w" / "metrics.jsonl").read_text().splitlines()
    ranks = [json.loads(line)["ranks"]["fc1"] for line in lines if "ranks" in line]
    assert ranks[-1] == 2


def adapter(folder):
    return (folder / "adapter.safetensors").read_bytes()


def test_steps_that_a_method_has_dealt_out_are_not_prolonged(finished, capsys):
    before = files(finished)
    more = [flag.replace("=20", "=40") for flag in ADAPAD]
    assert run(*more, f"--workdir={finished}") == 2
    err = capsys.readouterr().err
    assert "--method=adapad has dealt out" in err and "--overwrite" in err and err.count("\n") == 1
    assert files(finished) == before
