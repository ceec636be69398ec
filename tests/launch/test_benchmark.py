"""The command: rows of the promised form; the same loss here and in PyTorch."""

import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models import PLAIN
from finetune.models.bert import BertConfig
from finetune.weights import saving
from launch.bench import finetune_suite, lora_step, peft_step
from launch.bench import rows as benchmark_rows
from launch.bench.timing import alternating
from tests.finetune.models.tiny import BERT, LLAMA_CONFIG, random_model
from tests.launch.commands import command

PARTS = ("torch", "transformers", "peft")
needs_torch = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PARTS),
    reason="torch, transformers and peft are not installed",
)


@pytest.fixture
def folder(tmp_path):
    config = BertConfig(num_labels=2, **(BERT | {"num_hidden_layers": 1}))
    saving.save(tmp_path / "base", random_model(config))
    return tmp_path / "base"


@pytest.mark.thorough  # both sides step in the next test, rows are those of other suites
@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft, of an attribute of transformers
def test_steps_beside_peft(folder, tmp_path, capsys, monkeypatch):
    # The phases of this one are looked at one by one below.
    ways = {name: how for name, how in finetune_suite.ADAPAD.items() if name != "split"}
    monkeypatch.setattr(finetune_suite, "ADAPAD", ways)
    path = tmp_path / "rows.json"
    flags = ["--suite=finetune", f"--model={folder}", "--batch_size=3", "--length=6", "--repeats=5"]
    assert command("benchmark", *flags, f"--json={path}") == 0
    rows = json.loads(path.read_text())
    pairs = {(row["ours"], row["competitor"]) for row in rows}
    assert len(pairs) == len(rows)
    assert {("LoRA", "PEFT LoRA"), ("AdaLoRA, masks", "PEFT AdaLoRA, masks")} <= pairs
    for row in rows:
        assert tuple(row)[:9] == benchmark_rows.COLUMNS
        assert row["error_ours"] < 1e-5
        assert row["ratio"] == pytest.approx(row["seconds_competitor"] / row["seconds_ours"])
        if row["competitor"].startswith("PEFT"):
            assert row["error_competitor"] < 1e-5
            assert 0.2 < row["bytes_competitor"] / row["bytes_ours"] < 5
    out = capsys.readouterr().out
    assert "threads" in out and "MiB held" in out


@needs_torch
@pytest.mark.thorough  # the same programs compute in float32 in the tests of the suite
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_both_compute_in_bfloat16(folder):
    base = lora_step.base(folder, 3, 6, "bfloat16")
    exact = peft_step.reference(base)
    reference = peft_step.lora(base, 2, 1)
    ours = lora_step.trained(base, "lora", rank=2, alpha=16.0)
    for program in (ours, reference, lora_step.frozen(base)):
        program(), program()
        # Rounding of bfloat16, which float32 does not have.
        assert 1e-6 < abs(program.initial_loss - exact) < 2e-2
    assert reference.measured_bytes() > 0


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_language_model_beside_peft(tmp_path, monkeypatch):
    """Both take the same step: the same loss before it, and a smaller one after it."""
    saving.save(tmp_path / "base", random_model(LLAMA_CONFIG))
    monkeypatch.setattr(lora_step, "SCAN", 2)  # both layers, as SmolLM2's thirty
    base = lora_step.language(str(tmp_path / "base"), 2, 5)
    assert base.net.runs and base.batch["weight"].tolist() == [4, 4]
    exact = peft_step.reference(base)
    reference = peft_step.lora(base, 2, 1)
    for program in (lora_step.trained(base, "lora", rank=2, alpha=16.0), reference):
        assert program() == pytest.approx(exact, abs=1e-5)
        assert program() < exact
    assert sum(leaf.numel() for leaf in reference.trained) == sum(
        2 * sum(kernel.shape) for kernel in base.net.kernels(base.net.adapted()).values()
    )


@needs_torch
@pytest.mark.thorough  # the step itself above
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_rows_of_a_language_model(tmp_path):
    saving.save(tmp_path / "base", random_model(LLAMA_CONFIG))
    flags = ["--suite=finetune", f"--language_model={tmp_path / 'base'}", "--length=6"]
    path = tmp_path / "rows.json"
    assert command("benchmark", *flags, "--batch_size=2", "--repeats=5", f"--json={path}") == 0
    rows = json.loads(path.read_text())
    assert [row["case"].split(", ")[1] for row in rows] == ["float32", "bfloat16"]
    assert all(row["bytes_ours"] > 0 < row["bytes_competitor"] for row in rows)
    assert [row["error_ours"] < 1e-5 for row in rows] == [True, False]


@needs_torch
def test_an_accelerator_that_torch_has_not(folder, monkeypatch, capsys):
    monkeypatch.setattr(peft_step.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(peft_step.packages()[0].cuda, "is_available", lambda: False)
    assert command("benchmark", "--suite=finetune", f"--model={folder}") == 2
    err = capsys.readouterr().err
    assert "JAX computes on 'gpu', where torch" in err and err.count("\n") == 1


@pytest.mark.thorough  # the phases are of the method's own tests
def test_phases_are_what_they_are_called(folder, monkeypatch):
    base = lora_step.base(folder, 2, 4)
    ways = {name: finetune_suite.ADAPAD[name] for name in ("private_every=4", "split")}
    monkeypatch.setattr(finetune_suite, "ADAPAD", ways)
    programs = dict(finetune_suite.ours(base, rank=2))
    frozen = programs["frozen network"]()
    assert programs["AdaLoRA, masks"]() == pytest.approx(frozen, abs=1e-5)
    assert programs["AdaPaD split, grown"].initial_loss == pytest.approx(frozen, abs=1e-5)
    # The scored steps learn something first: without it all scores are 0.
    scored = programs["AdaPaD split, scored"].at(4, [0, 0])
    for name, program, published, private, moved in (
        ("growing", programs["AdaPaD split, growing"], 1, 1, False),
        ("scored", scored, 1, 1, True),
        ("grown", programs["AdaPaD split, grown"], 2, 0, False),
    ):
        program(), program()
        aux = program.state.aux.values()
        assert {(int(e["rank"]), int(e["private"])) for e in aux} == {(published, private)}, name
        assert any(float(entry["sensitivity"]) for entry in aux) == moved, name
    for name, moved in (("growing", False), ("private", True)):
        program = programs[f"AdaPaD private_every=4, {name}"]
        program()
        (module, *_) = program.state.theta
        assert bool(jnp.any(program.state.theta[module]["b"][1])) == moved, name
    masked = [int(jnp.sum(e["d"] != 0)) for e in programs["AdaLoRA, masks"].state.theta.values()]
    assert 0 < sum(masked) < 4 * len(masked)


def test_the_frozen_network_has_the_derivatives_of_its_first_biases(folder):
    base = lora_step.base(folder, 2, 4)
    program = lora_step.frozen(base)
    loss = program()
    shifts, head = program.state[1]
    params = base.net.params

    def value(biases):
        inputs = {n: base.batch[n] for n in ("input_ids", "attention_mask")}
        logits = base.net.forward({**params, **biases}, inputs, PLAIN, None)
        return base.loss(logits, base.batch["labels"], base.batch["weight"])

    names = {path: f"{path}.bias" for path in shifts} | {"classifier": "classifier.bias"}
    biases = {name: params[name] for name in names.values()}
    expected, result = jax.jit(jax.value_and_grad(value))(biases)
    assert loss == pytest.approx(float(expected), abs=1e-6)
    shifts["classifier"] = head["classifier.bias"]
    assert len(shifts) == 4
    for path, shift in shifts.items():
        np.testing.assert_allclose(shift, result[names[path]], atol=1e-6)


def test_a_row_has_a_ratio_where_both_arrived():
    result = [
        benchmark_rows.record("s", "c", ("ours", "theirs"), times, (0.0, 0.1), more=5)
        for times in ((1.0, 3.0), (None, 3.0), (1.0, None))
    ]
    assert [row["ratio"] for row in result] == [3.0, None, None]
    assert all(tuple(row) == (*benchmark_rows.COLUMNS, "more") for row in result)
    assert result[0]["seconds_competitor"] == 3.0 and result[0]["error_competitor"] == 0.1


def test_functions_take_turns():
    called = []
    alternating([lambda: called.append("a"), lambda: called.append("b")], 5)
    assert called == ["a", "b"] * 5


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--suite=finetune"], "--model is needed"),
        (["--model=x", "--repeats=2"], "repeats"),
        (["--suite=finetune", "--model=/absent"], "/absent"),
        (["--suite=decompose", "--data_dir=/absent"], "/absent/mnist.npz"),
    ],
)
def test_mistakes_are_one_line(flags, word, capsys):
    assert command("benchmark", *flags) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1
