"""Commands that a reader may type: every flag is one of that command, every file is there."""

import pathlib
import re
import shlex

import pytest
from absl import flags

from finetune.methods.registry import METHODS
from launch.evidence.sources import registry
from tests.launch.commands import COMMANDS, defined

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
SOURCES = [ROOT / "launch" / f"{name}.py" for name in COMMANDS]
RECIPES = sorted((ROOT / "recipes").glob("*/*.flags"))
COMMAND = re.compile(r"python -m launch\.([a-z]+)(?![\w.])((?: [^`\n]*)?)")
FLAG = re.compile(r"--(\w+)(?:=([^\s|\])]*))?")
OF_ALL = {"flagfile", "help", "helpshort", "helpfull", "jax_cache_dir"}


def commands(path):
    """(name, the rest of the line), lines that go on joined."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    if path.suffix != ".md":  # comments and docstrings: an indented line goes on, as in `...`
        text = re.sub(r"\n# ?(?=\S)", "\n", text) if path.suffix == ".py" else text
        text = re.sub(r"\n#? {4,}(?=--|\S+=)", " ", text)
    # Between backticks, or in a block, a command may run over lines.
    text = re.sub(r"`(python -m [^`]*)`", lambda m: "`" + " ".join(m[1].split()) + "`", text)
    return [(name, rest.split(" #")[0]) for name, rest in COMMAND.findall(text)]


@pytest.mark.parametrize("path", [*PAGES, *SCRIPTS, *SOURCES, *RECIPES], ids=lambda p: p.name)
def test_flags_and_files(path):
    for name, rest in commands(path):
        assert name in COMMANDS, f"launch.{name}"
        with defined(name) as own:
            known = own | OF_ALL
            for flag, value in FLAG.findall(rest):
                there = flag in known or flag.removeprefix("no") in known
                assert there, f"launch.{name} has no --{flag}"
                for one in (value or "").strip("'\"").split(","):
                    check_value(flag, one)


def check_value(flag, value):
    """A file of the project is there; a method and a figure have that name."""
    if re.match(r"(recipes|notebooks)/.*\.\w+$", value):
        assert (ROOT / value).is_file(), f"--{flag}={value}"
    elif flag == "methods" and value.islower() and "." not in value:
        assert value in METHODS, f"--{flag}={value}"
    elif flag == "name" and value.islower() and value != "all":
        assert value in registry(), f"--{flag}={value}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_values_are_taken(path):
    """In blocks that are there to be typed: numbers, choices and words parse."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"python -m launch\.(\w+)(.*)", line)
            if found:
                with defined(found[1]):
                    flags.FLAGS.unparse_flags()
                    flags.FLAGS([found[1], *shlex.split(found[2], comments=True)])


def test_there_are_many():
    assert sum(len(commands(path)) for path in PAGES) > 40
    assert sum(len(commands(path)) for path in SCRIPTS) > 10
