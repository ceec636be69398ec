"""The claims suite on two real claims: rows of the promised form, and what they count."""

import json
import re

import jax
import jax.numpy as jnp
import pytest

from launch.bench import claims_suite
from launch.bench import rows as benchmark_rows
from linear_theory import registry
from tests.launch.commands import command


@pytest.fixture
def few(monkeypatch):
    chosen = dict(list(registry().items())[:2])
    monkeypatch.setattr("linear_theory.registry", lambda: chosen)
    return chosen


def test_rows(few, tmp_path, capsys):
    path = tmp_path / "rows.json"
    assert command("benchmark", "--suite=claims", "--repeats=5", f"--json={path}") == 0
    rows = json.loads(path.read_text())
    assert [row["case"] for row in rows] == [*few, "all 2 claims"]
    for row in rows:
        assert tuple(row)[:9] == benchmark_rows.COLUMNS
        assert row["error_ours"] == row["error_competitor"] == 0
        assert row["ratio"] == pytest.approx(row["seconds_competitor"] / row["seconds_ours"])
    *each, total = rows
    for key in ("seconds_ours", "seconds_competitor", "compile_seconds"):
        assert total[key] == pytest.approx(sum(row[key] for row in each))
    out = capsys.readouterr().out
    assert re.search(r"8 trials.*the slowest 2 when warm", out)


def test_only_making_programs_is_counted():
    x, f = jnp.ones(3), jax.jit(lambda x: 3 * x + 1)
    with claims_suite.compiling() as first:
        f(x)
    with claims_suite.compiling() as second:
        f(x)
    f(jnp.ones(4))  # a program of another shape, made when nobody listens
    assert sum(first) > 0 and len(first) == 2 and not second
