"""An executed notebook is that of its script."""

import json
import pathlib

import pytest

SCRIPTS = sorted((pathlib.Path(__file__).parents[1] / "notebooks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_its_cells_are_those_of_the_script(script):
    jupytext = pytest.importorskip("jupytext")
    written = [cell.source for cell in jupytext.read(script).cells]
    cells = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == written
