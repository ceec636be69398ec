"""Files of flags: where a mistake stands, and recipes that are found from any folder."""

import pytest
from absl import flags

from launch.shell import config_flags, flagfiles, recipe_files
from launch.training.config import TrainConfig
from tests.launch.commands import command, defined


def one_line(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert command("train", f"--flagfile={tmp_path}/no.flags") == 2
    assert f"--flagfile={tmp_path}/no.flags cannot be read: No such file" in one_line(capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--rnak=3", "Unknown command line flag 'rnak'. Did you mean: rank"),
        ("--steps=x", "--steps=x"),
        ("steps=3", "'steps=3' is no flag; allowed are lines --NAME=VALUE"),
    ],
)
def test_a_mistake_in_a_file_names_it(line, message, capsys, tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text(f"# a comment\n\n// another\n{line}\n")
    outer.write_text(f"--rank=2\n--flagfile={inner}\n")
    assert command("train", f"--flagfile={outer}") == 2
    err = one_line(capsys)
    assert f"{inner}: " in err and message in err


def test_a_file_may_begin_with_a_mark_of_its_encoding(tmp_path):
    (tmp_path / "a.flags").write_text("--rank=2\n", encoding="utf-8-sig")
    assert flagfiles.names([f"--flagfile={tmp_path}/a.flags", "--steps=3"]) == {"rank", "steps"}


def test_a_file_that_reads_itself(capsys, tmp_path):
    path = tmp_path / "a.flags"
    path.write_text(f"--flagfile={path}\n")
    assert command("train", f"--flagfile={path}") == 2
    assert "reads itself" in one_line(capsys)


def test_a_home_folder_in_a_file_and_of_a_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.flags").write_text("--hidden_size=8\n--workdir=~/w\n")
    assert command("train", "--flagfile=~/a.flags", "--method=lora", "--steps=1") == 0
    assert (tmp_path / "w" / "result.json").exists()


def test_recipes_are_found_from_any_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    recipe_files._tell.cache_clear()
    name = "recipes/smoke/digits.flags"
    assert command("train", f"--flagfile={name}", "--method=lora", "--steps=1") == 0
    assert capsys.readouterr().err.startswith(f"{name} is not here; reading ")
    (tmp_path / "recipes" / "smoke").mkdir(parents=True)
    (tmp_path / name).write_text("--accumulate=0\n")  # one's own comes first
    assert command("train", f"--flagfile={name}") == 2
    assert "--accumulate=0" in one_line(capsys)


def test_arguments_that_are_parsed_aside_leave_the_program_s_flags_alone():
    with defined("train"):
        flagfiles.parse("train", ["--rank=3"])
        aside = flagfiles.unparsed()
        assert not aside["rank"].present
        flagfiles.parse("train", ["--rank=5", "--method=lora"], aside)
        config = config_flags.parsed(TrainConfig, aside)
        assert config.method == "lora" and config.method_options == {"rank": 5}
        assert flags.FLAGS["rank"].value == 3 and not flags.FLAGS["method"].present
