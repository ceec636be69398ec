"""--ranks=FILE: the ranks that a run found are those that another one trains."""

import json

import pytest

from finetune.training import adapter_files
from tests.launch.commands import command

SMALL = ["--task=digits", "--hidden_size=16", "--steps=20", "--batch_size=8"]


def record(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of LoRA with the ranks that one of AdaPaD wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    flags = ["--method=adapad", "--budget=3", "--rank=3", *SMALL]
    assert command("train", *flags, f"--workdir={folder}/found") == 0
    ranks = {**record(folder / "found")["ranks"], "fc1": 3, "fc2": 0}
    (folder / "ranks.json").write_text(json.dumps({"ranks": ranks}))
    flags = ["--method=lora", f"--ranks={folder}/ranks.json", "--rank=2", *SMALL]
    assert command("train", *flags, f"--workdir={folder}/given") == 0
    return folder


def test_the_record_and_the_adapter_have_them(trained):
    assert record(trained / "given")["ranks"] == {"fc1": 3, "fc2": 0}
    assert record(trained / "given")["trainable_parameters"] == 3 * (64 + 16)
    adapter = adapter_files.load(trained / "given" / "adapter.safetensors")
    assert adapter.ranks == {"fc1": 3}  # of rank 0 nothing is left
    assert abs(adapter.modules["fc1"].b).min() > 0


def test_a_finished_run_is_scored_without_the_file(trained, tmp_path, capsys):
    (tmp_path / "kept").mkdir()
    moved = (trained / "ranks.json").rename(tmp_path / "kept" / "ranks.json")
    try:
        assert command("evaluate", f"--workdir={trained}/given") == 0
    finally:
        moved.rename(trained / "ranks.json")
    assert f"{record(trained / 'given')['score']:.4f}"[:5] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--ranks=nowhere.json"], "ranks: nowhere.json cannot be read: No such file"),
        (["--ranks={}/given/result.json", "--modules=fc2"], "names 'fc1', which of the adapted"),
        (["--ranks={}/ranks.json", "--method=dora"], "which method 'dora' does not have"),
    ],
)
def test_mistakes_are_one_line(trained, flags, words, capsys):
    flags = [flag.format(trained) for flag in flags]
    assert command("train", *SMALL, "--method=lora", *flags) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_comparison_has_as_many_components_for_all(trained, tmp_path, capsys):
    (tmp_path / "easy.flags").write_text("\n".join(SMALL))
    (tmp_path / "given.flags").write_text(f"--method=lora\n--ranks={trained}/ranks.json\n")
    flags = [f"--tasks={tmp_path}/easy.flags", f"--methods=lora,{tmp_path}/given.flags"]
    flags += [f"--workdir={tmp_path}/runs"]
    assert command("compare", *flags, "--budget=2") == 2
    assert "--ranks adds up to 3 and --budget is 2; give 3" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
