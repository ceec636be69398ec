"""What a command reads is not what it writes, whichever command it is."""

import dataclasses

import pytest

from launch.shell import written
from rankwise.options import option
from tests.launch.commands import command as run


@dataclasses.dataclass(frozen=True)
class Config:
    data: str | None = option(None, "a file, or FILE:KEY", path=True)
    others: tuple[str, ...] = option((), "files", path=True)
    json: str | None = option(None, "a file", written="file")
    output: str | None = option(None, "a new folder", written="new")


def test_a_file_that_is_read_is_not_replaced(tmp_path):
    table, link = tmp_path / "table.csv", tmp_path / "link.csv"
    table.write_text("a\n")
    link.symlink_to(table)
    for read in ({"data": f"{link}"}, {"data": f"{table}:key"}, {"others": ("x", f"{table}")}):
        name = next(iter(read))
        with pytest.raises(ValueError, match=f"--json=.*table.csv would replace what --{name} re"):
            written.require(Config(**read, json=f"{table}"))
    written.require(Config(data=f"{table}", json=f"{tmp_path}/table.json"))


def test_of_a_folder_that_is_read_rows_and_weights_stay(tmp_path):
    for name in ("train.csv", "config.json", "model.safetensors", "scores.json"):
        (tmp_path / name).write_text("")
    for name in ("train.csv", "config.json", "model.safetensors"):
        with pytest.raises(ValueError, match=f"{name} would replace what --data reads"):
            written.require(Config(data=f"{tmp_path}", json=f"{tmp_path}/{name}"))
    written.require(Config(data=f"{tmp_path}", json=f"{tmp_path}/scores.json"))  # of an earlier run


def test_a_new_folder_is_new(tmp_path):
    with pytest.raises(ValueError, match="exists; nothing is overwritten"):
        written.require(Config(output=f"{tmp_path}"))
    written.require(Config(output=f"{tmp_path}/new"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("regress", "--data={}", "--targets=a", "--new={}", "--predictions={}"),
        ("regress", "--data={}", "--targets=a", "--json={}"),
        ("decompose", "--matrix={}", "--rank=1", "--json={}"),
        ("predict", "--workdir=run", "--data={}", "--output={}"),
        ("evaluate", "--workdir=run", "--data_dir={}", "--predictions={}"),
        ("generate", "--workdir=run", "--prompts={}", "--output={}"),
        ("adapter", "inspect", "--adapter={}", "--json={}"),
        ("compress", "--model=model", "--data={}", "--json={}"),
    ],
)
def test_no_command_replaces_what_it_reads(tmp_path, capsys, arguments):
    name = "mine.jsonl" if arguments[0] in ("predict", "generate") else "mine.csv"
    (tmp_path / name).write_text("a,b\n1,2\n")
    program, *rest = [text.replace("{}", str(tmp_path / name)) for text in arguments]
    assert run(program, *rest) == 2
    assert "would replace what --" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "a,b\n1,2\n"
