"""Everything for an accelerator, at a tiny size on the CPU; cases that fail leave a row."""

import json
import subprocess

import pytest

from finetune.models.bert import BertConfig
from launch.bench import accelerator_cases, accelerator_suite, generation_suite, moments_suite
from launch.bench.rows import COLUMNS
from tests.finetune.models.tiny import BERT
from tests.launch.bench.test_generation_suite import WIDTHS

TEXT = generation_suite.Size(1, 3, 5, 2, WIDTHS)
STREAM = moments_suite.Size(12, 5, 8 * moments_suite.BLOCK, 2 * moments_suite.BLOCK)
TINY = accelerator_cases.Size(
    16, 64, (12, 10, 2), STREAM, (2, 4), TEXT, BERT | {"num_hidden_layers": 1}, 1
)
RATES = {"float32": 1e9, "bfloat16": 1e9, "memory": 1e9}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(accelerator_cases.SIZES, "quick", TINY)


def rows_of(case, dtype="float32", rates=RATES):
    payload = {"case": case, "dtype": dtype, "size": "quick", "model": None, "rates": rates}
    device, *rows = accelerator_cases.main(payload)
    assert "cpu" in device["device"]
    json.dumps(rows)
    assert all(tuple(row)[:9] == COLUMNS and row["suite"] == "accelerator" for row in rows)
    return rows


def test_the_made_model_is_a_bert():
    config = BertConfig(num_labels=2, **accelerator_cases.MINILM)
    assert config.hidden_size == config.num_attention_heads * 32


def test_all_cases_are_known():
    assert {case for case, _ in accelerator_suite.CASES} == set(accelerator_cases.CASES)
    assert accelerator_suite.CASES[0][0] == "rates"  # others are held against it


def test_rates_and_what_is_held_against_them(tiny):
    rates = {}
    for row in rows_of("rates"):
        rates |= row["rate"]
    assert rates.keys() >= RATES.keys() and min(rates.values()) > 0
    bound, svd = rows_of("decompose", rates=RATES)
    assert bound["competitor"] == "roofline, products" and svd["competitor"] == "jnp.linalg.svd"
    assert bound["seconds_competitor"] == bound["flops"] / 1e9 > bound["bytes"] / 1e9
    (bound, _) = rows_of("decompose", rates={"memory": 1.0})
    assert bound["competitor"] == "roofline, memory" and bound["ratio"] > 1
    (bound, _) = rows_of("decompose", rates={})
    assert bound["competitor"] == "roofline, unknown" and bound["ratio"] is None
    assert len(rows_of("round")) == 1


def test_moments(tiny):
    assert len(rows_of("moments")) == 2


def test_a_step(tiny):
    (step,) = rows_of("lora", "bfloat16")
    assert step["seconds_ours"] > 0 and "bfloat16" in step["case"]
    assert step["seconds_competitor"] == max(step["flops"], step["bytes"]) / 1e9


@pytest.mark.thorough  # in float32 the same suite is run by its own test
def test_a_token_in_half_precision(tiny):
    (token,) = rows_of("generation", "bfloat16")
    assert token["case"].endswith("bfloat16")


def test_rows_are_saved_after_every_case(monkeypatch):
    lines = {
        "rates": [{"device": "a chip"}, row("a product") | {"rate": {"float32": 2.0}}],
        "round": [{"device": "a chip"}],
        "lora": [{"device": "a chip"}, row("a step")],
    }
    asked, saved = [], []

    def told(payload, limit):
        asked.append((payload["case"], dict(payload["rates"]), limit))
        return lines[payload["case"]], "no room" if payload["case"] == "round" else None

    monkeypatch.setattr(accelerator_suite, "_told", told)
    cases = [(name, "float32") for name in lines]
    rows, note = accelerator_suite.run("quick", None, lambda all: saved.append(len(all)), cases)
    assert saved == [1, 2, 3] and note.startswith("a chip; ")
    assert [one["case"] for one in rows] == ["a product", "round, float32", "a step"]
    assert rows[1]["competitor"] == "not measured: no room" and rows[1]["ratio"] is None
    assert [rates for _, rates, _ in asked] == [{}, {"float32": 2.0}, {"float32": 2.0}]
    rows, _ = accelerator_suite.run("quick", None, saved.append, cases, limit=1.0)
    assert {one["competitor"] for one in rows} == {"not measured: time is out"}
    assert len(asked) == 3


def row(case):
    return accelerator_cases._row(case, "ours", "theirs", (1.0, 2.0))


MAGIC = {"case": "magic", "dtype": "float32", "size": "quick", "model": None, "rates": {}}


@pytest.mark.thorough  # the next two say what is made of how a process ends
def test_a_process():
    told, reason = accelerator_suite._told(MAGIC, 60)
    assert [list(line) for line in told] == [["device"]] and reason == "KeyError: 'magic'"


def test_a_process_that_fails(monkeypatch):
    ended = subprocess.CompletedProcess([], 1, b'{"device": "x"}\n', b"Traceback\nOSError: no\n")
    monkeypatch.setattr(accelerator_suite.subprocess, "run", lambda *_, **__: ended)
    assert accelerator_suite._told(MAGIC, 7) == ([{"device": "x"}], "OSError: no")


def test_a_process_that_takes_too_long(monkeypatch):
    def slow(*args, timeout, **options):
        raise subprocess.TimeoutExpired(args[0], timeout, output=b'{"device": "x"}\n{"suite": "acc')

    monkeypatch.setattr(accelerator_suite.subprocess, "run", slow)
    told = accelerator_suite._told(MAGIC, 7)
    assert told == ([{"device": "x"}], "not finished within 7 s")
