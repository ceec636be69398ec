"""The snippets of the README run as they are printed, each by itself."""

import pathlib
import re

import pytest

TEXT = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=("network", "solvers"))
def test_it_runs_and_says_something(snippet, capsys):
    exec(compile(snippet, "README.md", "exec"), {"__name__": "snippet"})
    assert capsys.readouterr().out.strip()


def test_there_is_one_per_way_of_use():
    imported = " ".join(SNIPPETS)
    assert "import finetune" in imported and "from deflation" in imported
