"""The commands with language models: text to text, GSM8K and HumanEval, from flags to files."""

import json
import shutil
import types

import huggingface_hub
import jax
import pytest

from finetune import models
from finetune.models.config import parse
from finetune.models.registry import ARCHITECTURES
from finetune.tasks.execution import sandbox
from finetune.weights import saving
from launch.training import problem
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.test_gsm8k import rows as sums
from tests.finetune.tasks.test_humaneval import problems
from tests.launch.commands import command

pytestmark = pytest.mark.skipif(
    not {"llama", "t5"} <= set(ARCHITECTURES), reason="there are no language models yet"
)

SIZES = {
    "llama": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "max_position_embeddings": 1024,
    },
    "t5": {
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 24,
        "num_layers": 1,
        "num_decoder_layers": 1,
        "num_heads": 2,
        "decoder_start_token_id": 0,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Tiny models with their tokenizers, and made data in the layout of the published files."""
    root = tmp_path_factory.mktemp("language")
    for name, sizes in SIZES.items():
        tokenizer = vocabularies.MAKERS[name](root / name)
        kind = ARCHITECTURES[name].Config
        config = parse(kind, {"vocab_size": tokenizer.size, **sizes}, num_labels=0)
        saving.save(root / name, models.initialise(config, jax.random.key(0)))
    columns = {"sentence1": made.sentences(16), "sentence2": made.sentences(16, 1)}
    for split in ("train", "validation"):
        labels = {"label": [0, 1, 1, 1] * 4}
        made.write_parquet(root / f"data/mrpc/{split}.parquet", columns | labels)
    for split in ("train", "test"):
        made.write_parquet(root / f"data/gsm8k/{split}.parquet", sums(4))
    made.write_parquet(root / "data/humaneval/test.parquet", problems(3))
    return root


def flags(folder, model, task, *more):
    common = [f"--model={folder}/{model}", f"--data_dir={folder}/data", f"--task={task}"]
    return [*common, "--max_length=224", "--eval_batch_size=8", *more]


def trained(folder, model, task, *more):
    run = folder / f"run_{model}_{task}"
    small = ["--method=lora", "--rank=2", "--steps=4", "--batch_size=4", "--accumulate=2"]
    assert command("train", *flags(folder, model, task, *small, *more), f"--workdir={run}") == 0
    return run


@pytest.mark.thorough  # humaneval below, scores: tasks/test_text_to_text.py
@pytest.mark.parametrize("model", ["t5", "llama"])
def test_glue_as_text_to_text(folder, tmp_path, capsys, model):
    run = trained(folder, model, "mrpc", "--form=text_to_text")
    result = json.loads((run / "result.json").read_text())
    assert set(result["scores"]) == {
        "accuracy",
        "f1",
        "accuracy_f1",
        "exact_match",
        "label_restricted",
    }
    # Pitfall 22: the majority class stands beside the score.
    assert result["majority"] == 0.75 and result["metric"] == "accuracy"
    assert result["head_parameters"] == 0
    capsys.readouterr()
    scores, lines = tmp_path / "scores.json", tmp_path / "lines.jsonl"
    options = [f"--json={scores}", f"--predictions={lines}"]
    assert command("evaluate", f"--workdir={run}", "--eval_batch_size=8", *options) == 0
    shown = capsys.readouterr().out
    assert "exact_match" in shown and "label_restricted" in shown and "majority" in shown
    outcome = json.loads(scores.read_text())
    assert outcome["scores"] == pytest.approx(result["scores"])
    assert outcome["majority"]["exact_match"] == 0.75 and outcome["rows"] == 16
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert set(written[0]) == {"index", "prediction", "label", "exact_match"}
    right = sum(row["prediction"] == row["label"] for row in written) / 16
    assert right == outcome["scores"]["label_restricted"]


@pytest.mark.thorough  # an earlier version's run in test_own_text.py is of this task
@pytest.mark.parametrize("model", ["t5", "llama"])
def test_gsm8k(folder, tmp_path, model):
    run = trained(folder, model, "gsm8k", "--target_length=48", "--evaluate_every=4")
    result = json.loads((run / "result.json").read_text())
    assert result["metric"] == "exact_match" and result["majority"] == 0.25
    lines = tmp_path / "lines.jsonl"
    assert command("evaluate", f"--workdir={run}", f"--predictions={lines}") == 0
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["label"] for row in written] == ["1", "3", "5", "7"]
    assert set(written[0]) == {"index", "text", "prediction", "label"}
    # The same run by the loss of the given answers, on some of the rows.
    scores = tmp_path / "scores.json"
    given = [f"--workdir={run}", "--likelihood", "--eval_rows=3", f"--json={scores}"]
    assert command("evaluate", *given) == 0
    outcome = json.loads(scores.read_text())
    assert outcome["rows"] == 3 and set(outcome["scores"]) == {"loss", "perplexity"}


def test_humaneval(folder, tmp_path, capsys):
    run = trained(folder, "llama", "gsm8k", "--target_length=48", "--evaluate_every=4")
    adapter, lines, scores = (tmp_path / name for name in ("peft", "lines.jsonl", "scores.json"))
    assert command("export", f"--workdir={run}", f"--output={adapter}") == 0
    capsys.readouterr()
    options = flags(folder, "llama", "humaneval", f"--adapter={adapter}", "--target_length=8")
    # Not without the flag, and without it not even the model is asked.
    assert command("evaluate", *options) == 2
    err = capsys.readouterr().err
    assert "--run_generated_code" in err and err.count("\n") == 1
    # Without it completions can be written.
    assert command("evaluate", *options, f"--predictions={lines}") == 0
    written = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["task_id"] for row in written] == ["made/0", "made/1", "made/2"]
    assert set(written[0]) == {"index", "task_id", "completion"}
    assert "pass@1" not in capsys.readouterr().out
    if sandbox.refusal():
        pytest.skip(sandbox.refusal())
    assert command("evaluate", *options, "--run_generated_code", f"--json={scores}") == 0
    assert "pass@1" in capsys.readouterr().out
    assert json.loads(scores.read_text())["scores"] == {"pass@1": 0.0}


@pytest.mark.parametrize(
    ("model", "task", "more", "word"),
    [
        ("llama", "humaneval", [], "split is 'train'; allowed are 'test'"),
        ("llama", "digits", ["--form=text_to_text"], "form is 'text_to_text'; allowed with task"),
        ("llama", "gsm8k", ["--samples=2"], "samples is 2; allowed with task 'gsm8k'"),
        (
            "llama",
            "mrpc",
            ["--likelihood"],
            "likelihood is True; allowed with task 'mrpc' is False",
        ),
        ("llama", "gsm8k", ["--max_length=32"], "allowed are lengths that at least one row"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, model, task, more, word):
    given = [flag for flag in flags(folder, model, task) if task != "digits" or "max_" not in flag]
    given = [flag for flag in given if task != "digits" or "data_dir" not in flag]
    assert command("train", *given, *more) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1


def test_a_tokenizer_is_asked_for_by_name(folder, monkeypatch):
    """The download of a model's weights brings no tokenizer along."""
    asked = []

    def download(name, *, revision, allow_patterns):
        assert (name, revision) == ("some/model", "abc")
        asked.extend(allow_patterns)
        return str(folder / "llama")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    config = types.SimpleNamespace(
        task="gsm8k", text=True, base=lambda: "some/model", base_config={}, revision="abc"
    )
    assert problem.tokenizer(config).vocabulary.end_id == 2
    assert "tokenizer.model" in asked


def test_a_tokenizer_with_more_ids_than_the_model_knows(folder, tmp_path, capsys):
    shutil.copytree(folder / "llama", tmp_path / "llama")
    config = json.loads((tmp_path / "llama/config.json").read_text())
    (tmp_path / "llama/config.json").write_text(json.dumps({**config, "vocab_size": 9}))
    given = ["--task=gsm8k", f"--data_dir={folder}/data", f"--model={tmp_path}/llama"]
    assert command("train", *given) == 2
    assert "allowed are 0 to 8, as the model's vocab_size is 9" in capsys.readouterr().err


def test_texts_are_no_table(folder, capsys, tmp_path):
    run = trained(folder, "llama", "mrpc", "--form=text_to_text")
    capsys.readouterr()
    given = [f"--workdir={run}", f"--predictions={tmp_path}/lines.csv"]
    assert command("evaluate", *given) == 2
    assert "allowed suffixes are .jsonl" in capsys.readouterr().err
    assert command("evaluate", f"--workdir={run}", f"--submission={tmp_path}", "--split=test") == 2


def test_an_encoder_is_no_language_model(folder, tmp_path, capsys):
    from tests.launch.texts import made as table

    table(tmp_path)
    given = ["--task=gsm8k", f"--data_dir={folder}/data", f"--model={tmp_path}/base"]
    assert command("train", *given) == 2
    assert "is no language model, as T5 and Llama are" in capsys.readouterr().err
