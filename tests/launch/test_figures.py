"""The figures as a command: what it prints, writes and returns."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from finetune.studies.vision import registry as recipes
from launch import figures as command
from launch.evidence import drawing
from launch.shell import app

ONE = "--name=sequential_spectra"  # the cheapest


@pytest.fixture
def launch(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            app.run(command.main, drawing.FiguresConfig, ["figures", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


def test_one_figure_into_a_missing_folder(launch, tmp_path):
    status, out, err = launch(ONE, "--workdir=new/folder")
    assert status == 0
    assert "sequential_spectra.png" in out and "figures: 1/1" in err
    folder = tmp_path / "new" / "folder"
    files = {path.name for path in folder.iterdir()}
    own = {f"sequential_spectra.{ending}" for ending in ("png", "svg", "npz", "json")}
    assert files == own | {"config.json", "metrics.jsonl", "result.json"}
    described = json.loads((folder / "sequential_spectra.json").read_text())
    assert described["source"] == "arXiv 2505.22602, Figure 5" and described["scale"] == "quick"
    assert described["setting"]["rank"] == 8 and described["setting"]["seed"] == 42
    arrays = np.load(folder / "sequential_spectra.npz")
    assert arrays["of_map"].shape == (3, 8)
    result = json.loads((folder / "result.json").read_text())
    assert result["figures"] == ["sequential_spectra"]


def test_existing_files_are_replaced_and_the_seed_counts(launch, tmp_path):
    png, npz = tmp_path / "sequential_spectra.png", tmp_path / "sequential_spectra.npz"
    png.write_text("old")
    assert launch(ONE, "--workdir=.")[0] == 0
    first = png.read_bytes(), np.load(npz)["of_target"]
    assert launch(ONE, "--workdir=.")[0] == 0
    assert png.read_bytes() == first[0]
    assert launch(ONE, "--workdir=.", "--seed=7")[0] == 0
    assert not np.array_equal(np.load(npz)["of_target"], first[1])
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_a_setting_of_ones_own(launch, tmp_path):
    own = '--setting={"rank": 3, "trials": 1}'
    assert launch(ONE, own, "--workdir=.")[0] == 0
    described = json.loads((tmp_path / "sequential_spectra.json").read_text())["setting"]
    assert (described["rank"], described["trials"], described["m"]) == (3, 1, 40)
    assert np.load(tmp_path / "sequential_spectra.npz")["of_target"].shape == (3, 3)
    # The file says all that the command needs: the same setting again is the same figure.
    whole = f"--setting={json.dumps(described)}"
    assert launch(ONE, "--scale=paper", whole, "--workdir=again")[0] == 0
    one, two = (np.load(tmp_path / f / "sequential_spectra.npz") for f in (".", "again"))
    assert np.array_equal(one["of_target"], two["of_target"])


def test_list_runs_nothing(launch, tmp_path):
    status, out, _ = launch("--list", "--workdir=w")
    assert status == 0 and len(out.splitlines()) == 2 + len(drawing.select("all"))
    assert out.splitlines()[0].split() == ["name", "source", "shows"]
    assert os.listdir(tmp_path) == []


def test_all_is_the_default_and_names_are_kept(launch, monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(drawing, "produce", lambda recipe, _: drawn.append(recipe.name) or ["f"])
    assert launch()[0] == 0
    assert drawn == list(drawing.registry())
    assert (tmp_path / "runs" / "figures" / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name=spectra"], "--name=spectra is no figure; allowed are all and sequential_"),
        (["--scale=huge"], "should be one of"),
        (["--seed=-1"], "--seed=-1"),
        (["--nmae=all"], "Did you mean: name"),
        (['--setting={"rank": 3}'], "--setting changes the size of one figure; give its --name"),
        ([ONE, "--setting=rank=3"], '--setting=rank=3 is no object of JSON; allowed is one, as {"'),
        ([ONE, '--setting={"rnk": 3}'], "spectra: there is no field 'rnk'; allowed are m,"),
        ([ONE, '--setting={"rank": 3.5}'], "rank is 3.5; allowed is int"),
        ([ONE, '--setting={"rank": 0}'], "rank is 0"),
        ([ONE, "--workdir=file"], "--workdir=file is, or lies in, a file"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(launch, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    status, out, err = launch(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("figures: ") and message in err and err.count("\n") == 1


def test_as_a_program():
    ended = subprocess.run(
        [sys.executable, "-m", "launch.figures", "--name=none"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("figures: ") and ended.stderr.count("\n") == 1


@pytest.mark.thorough  # tests of studies/vision, one by one
def test_figures_with_networks_share_one_study(launch, monkeypatch, tmp_path):
    small = recipes.VisionSetting(
        "digits", hidden_size=8, epochs=(1, 2), base_epochs=1, joint_epochs=2, rows=64, seeds=(0,)
    )
    monkeypatch.setattr(recipes, "_digits", lambda scale: [small])
    vision = recipes.registry().items()
    chosen = [name for name, recipe in vision if recipe.resumable]
    assert len(chosen) == 6
    for number, name in enumerate(chosen):
        status, out, err = launch(f"--name={name}", "--workdir=w")
        assert status == 0 and f"{name}.png" in out
        # 1 + 2 (1 + 2 + 4) + 2 epochs, in the first call alone.
        assert ("epochs: 17/17" in err) == (number == 0)
    described = json.loads((tmp_path / "w" / "vision_paths.json").read_text())
    assert described["setting"]["settings"][0]["task"] == "digits"
    assert len(list((tmp_path / "w" / "seeds").iterdir())) == 1
    arrays = np.load(tmp_path / "w" / "vision_paths.npz")
    assert arrays["digits_component_3"].shape == (1, 2, 2, 2)


def test_a_folder_without_images_is_refused_before_anything_runs(launch, tmp_path):
    (tmp_path / "empty").mkdir()
    status, out, err = launch("--data_dir=empty", "--workdir=w")
    assert (status, out) == (2, "")
    assert "empty has no images of mnist, cifar10, cifar100" in err and err.count("\n") == 1
    assert not (tmp_path / "w").exists()
