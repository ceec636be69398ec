"""A user's own text through the commands: trained, scored, and refused in one line."""

import json
import shutil

import jax
import pytest

from finetune import models
from finetune.models.config import parse
from finetune.models.registry import ARCHITECTURES
from finetune.weights import saving
from launch.training import job as training
from launch.training.config import TrainConfig
from launch.training.problem_config import LATER
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.own_text.test_instructions import jsonl
from tests.finetune.tasks.squad.test_task import published, question
from tests.finetune.tasks.test_gsm8k import rows as sums
from tests.finetune.tasks.tokens.test_chat import CHATML
from tests.launch.commands import command
from tests.launch.test_language import SIZES

ROWS = [{"prompt": f"Add {n} and 3:", "completion": f" {n + 3}", "id": n} for n in range(20)]
TRAINED = ["--method=lora", "--rank=2", "--steps=4", "--batch_size=4", "--max_length=32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny Llama with a chat template, and rows."""
    root = tmp_path_factory.mktemp("own")
    tokenizer = vocabularies.byte_level(root / "llama")
    (root / "llama/chat_template.jinja").write_text(CHATML)
    sizes = {**SIZES["llama"], "vocab_size": tokenizer.size}
    config = parse(ARCHITECTURES["llama"].Config, sizes, num_labels=0)
    saving.save(root / "llama", models.initialise(config, jax.random.key(0)))
    jsonl(root / "rows.jsonl", [*ROWS, {"prompt": "x" * 60, "completion": "y"}])
    (root / "book.txt").write_text("Once upon a time there was a matrix of rank one. " * 12)
    return root


@pytest.fixture(scope="module")
def run(folder):
    """A run on the rows."""
    flags = [f"--model={folder}/llama", "--task=instructions", f"--data={folder}/rows.jsonl"]
    shown = [f"--workdir={folder}/run", "--eval_batch_size=8", "--heldout=0.2"]
    assert command("train", *flags, *TRAINED, *shown) == 0
    return folder / "run"


def test_instructions_are_trained_and_scored(folder, run, tmp_path, capsys):
    result = json.loads((run / "result.json").read_text())
    assert result["metric"] == "loss" and result["split"] == "heldout"
    assert set(result["scores"]) == {"loss", "perplexity", "exact_match"}
    assert result["note"] == "1 of 21 rows of train have more than 32 tokens and are left out"
    # The best loss is the least one.
    scores = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert result["best_score"] == min(row["score"] for row in scores if "score" in row)
    capsys.readouterr()
    scores = tmp_path / "scores.json"
    assert command("evaluate", f"--workdir={run}", f"--json={scores}") == 0
    shown = capsys.readouterr().out
    assert "perplexity" in shown and result["note"] in shown
    assert json.loads(scores.read_text())["scores"] == pytest.approx(result["scores"], rel=1e-5)
    # New rows, taken whole.
    jsonl(tmp_path / "new.jsonl", ROWS[:3])
    given = [f"--workdir={run}", f"--data={tmp_path}/new.jsonl", f"--json={scores}"]
    assert command("evaluate", *given, f"--predictions={tmp_path}/out.jsonl") == 0
    assert json.loads(scores.read_text())["rows"] == 3
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"index", "loss", "tokens", "exact_match"}


def test_an_adapter_of_instructions_is_exported(run, tmp_path):
    assert command("export", f"--workdir={run}", f"--output={tmp_path}/peft") == 0
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM"


def test_text_is_trained(folder, tmp_path):
    flags = [f"--model={folder}/llama", "--task=text", f"--data={folder}/book.txt"]
    given = [*flags, *TRAINED, "--heldout=0.2", f"--workdir={tmp_path}/run"]
    assert command("train", *given, "--eval_batch_size=8") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert set(result["scores"]) == {"loss", "perplexity"} and result["note"] == ""


@pytest.mark.parametrize(
    ("task", "line", "more", "word"),
    [
        ("instructions", '{"prompt": "a"', [], "line 17 of file"),
        ("instructions", None, ["--prompt_column=ask"], "column 'ask' is not in"),
        ("instructions", '{"prompt": "a", "completion": ""}', [], "in row 16 is empty"),
        ("instructions", None, ["--chat"], "tokenizer has no chat_template"),
        ("instructions", None, [], "file out (--heldout=0.2)"),
        ("gsm8k", None, ["--chat"], "chat is True; allowed with task 'gsm8k' is False"),
        ("text", None, ["--texts=a,b"], "allowed for task 'text' is one column"),
    ],
)
def test_mistakes_are_one_line(folder, tmp_path, capsys, task, line, more, word):
    file = jsonl(tmp_path / "rows.jsonl", ROWS[:16])
    if line is not None:
        file.write_text(file.read_text() + line + "\n")
    shutil.copytree(folder / "llama", tmp_path / "llama")
    (tmp_path / "llama/chat_template.jinja").unlink()
    given = [f"--task={task}", f"--data={file}", f"--model={tmp_path}/llama", *TRAINED]
    assert command("train", *given, *more) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1


@pytest.mark.thorough  # its task and SQuAD's command have tests of their own
def test_squad_in_words(folder, tmp_path):
    rows = [question(0, ["3"], is_impossible=False), question(1, [], is_impossible=True)]
    published(tmp_path / "squad_v2", "v2.0", rows * 4)
    flags = [f"--model={folder}/llama", "--task=squad_v2", f"--data={tmp_path}", *TRAINED]
    more = ["--max_length=128", "--target_length=8", f"--workdir={tmp_path}/run"]
    assert command("train", *flags, *more, "--evaluate_every=4") == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert set(result["scores"]) == {"f1", "exact_match"} and result["majority"] == 0.5
    lines = tmp_path / "out.jsonl"
    assert command("evaluate", f"--workdir={tmp_path}/run", f"--predictions={lines}") == 0
    first = json.loads(lines.read_text().splitlines()[0])
    assert first["id"] == "q0" and first["answers"] == ["3"] and "prediction" in first


def test_a_run_of_an_earlier_version_is_scored_and_prolonged(folder, tmp_path, capsys):
    flags = [f"--model={folder}/llama", "--task=gsm8k", f"--data_dir={tmp_path}/data"]
    made.write_parquet(tmp_path / "data/train.parquet", sums(4))
    made.write_parquet(tmp_path / "data/test.parquet", sums(4))
    small = ["--method=lora", "--rank=2", "--batch_size=4", "--max_length=128"]
    given = [*flags, *small, "--target_length=64", "--schedule=constant"]
    given = [*given, f"--workdir={tmp_path}/run"]
    assert command("train", *given, "--steps=1") == 0
    path = tmp_path / "run/config.json"
    record = json.loads(path.read_text())
    assert set(record) >= LATER
    path.write_text(json.dumps({n: v for n, v in record.items() if n not in LATER}))
    assert command("evaluate", f"--workdir={tmp_path}/run") == 0
    capsys.readouterr()
    assert command("train", *given, "--steps=2") == 0
    assert "goes on from step 1 to 2" in capsys.readouterr().err


def test_what_identifies_a_run_has_no_flag_that_is_not_used(folder, tmp_path):
    config = TrainConfig(
        workdir=str(tmp_path / "run"),
        task="text",
        data_dir=str(folder / "book.txt"),
        model=str(folder / "llama"),
        heldout=0.2,
        method="lora",
        batch_size=4,
    )
    saved = training.checkpoints(config, training.prepare(config))
    assert not LATER & set(saved._identity["configuration"])
