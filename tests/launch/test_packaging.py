"""What an installation holds: the recipes with the program, and one version everywhere."""

import fnmatch
import pathlib
import re

import pytest
import setuptools

import rankwise
from launch.shell import recipe_files

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def arguments(monkeypatch):
    given = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", given.update)
    exec((ROOT / "setup.py").read_text(), {})
    return given


def test_all_packages_and_recipes_are_installed(arguments):
    named = set(arguments["packages"])
    for package in ("rankwise", "deflation", "linear_theory", "finetune", "launch"):
        for file in (ROOT / package).rglob("__init__.py"):
            assert ".".join(file.parent.relative_to(ROOT).parts) in named
    assert not any(name.startswith("tests") for name in named)
    place = arguments["package_dir"]["launch.recipes"]
    patterns = arguments["package_data"]["launch.recipes"]
    files = [str(p.relative_to(ROOT / place)) for p in (ROOT / place).rglob("*") if p.is_file()]
    assert files and recipe_files.folder() == ROOT / place
    for file in files:
        assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), file


def test_one_version():
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited[1] == rankwise.__version__
    assert "attr: rankwise.__version__" in (ROOT / "setup.cfg").read_text()
