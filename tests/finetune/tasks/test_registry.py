import dataclasses
import json
import subprocess
import sys

import pytest

from finetune import tasks
from finetune.tasks import TaskConfig
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made, vocabularies

TOKENIZER = from_fast(made.backend())


def test_names():
    expected = "digits mnist cifar10 cifar100 cola sst2 mrpc qqp stsb mnli qnli rte "
    expected += "gsm8k humaneval squad squad_v2 table instructions text"
    assert tasks.names() == tuple(expected.split())
    assert [name for name in tasks.names() if not tasks.needs_tokenizer(name)] == [
        "digits",
        "mnist",
        "cifar10",
        "cifar100",
    ]


def test_a_name_is_enough_for_digits():
    assert tasks.load("digits").name == "digits"
    assert tasks.load(TaskConfig("digits", classes="first")).note == "only the classes 0 to 4"


def test_a_configuration_survives_json():
    config = TaskConfig("table", "x.csv", lengths=(16, 32), texts=("a", "b"), heldout=0.1)
    again = TaskConfig(**json.loads(json.dumps(dataclasses.asdict(config))))
    assert again == config


def test_a_table_and_a_glue_task(tmp_path):
    columns = {"sentence": made.sentences(9), "label": [0, 1, 0] * 3}
    for split in ("train", "validation"):
        made.write_parquet(tmp_path / f"{split}.parquet", columns)
    config = TaskConfig("table", str(tmp_path), texts=("sentence",), max_length=8, window=2)
    table = tasks.load(config, TOKENIZER)
    assert (table.lengths, table.window) == ((8,), 2)
    cola = tasks.load(TaskConfig("cola", str(tmp_path), max_length=8), TOKENIZER)
    assert cola.metric == "matthews" and len(cola.split("train")) == 9


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TaskConfig("wnli"), "task is 'wnli'; allowed are 'digits'"),
        (TaskConfig("rte"), "tokenizer is None; allowed for task 'rte' is that of the model"),
        (
            TaskConfig("rte", classes="first"),
            "classes is 'first'; allowed with task 'rte' is 'all'",
        ),
        (TaskConfig("digits", regression=True), "regression is True; allowed with task 'digits'"),
        (TaskConfig("digits", "data"), "data_dir is 'data'; allowed with task 'digits' is None"),
        (TaskConfig("mnist", max_length=8), "max_length is 8; allowed with task 'mnist' is 128"),
        (TaskConfig("mnist", test=True), "test is True; allowed with task 'mnist' is False"),
        (TaskConfig("cola", texts=("a",)), r"texts is \('a',\); allowed with task 'cola' is \(\)"),
    ],
)
def test_refused(config, message):
    with pytest.raises(ValueError, match=message):
        tasks.load(config)


def test_tasks_of_language_models(tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "llama")
    columns = {"sentence": made.sentences(9), "label": [0, 1, 0] * 3}
    made.write_parquet(tmp_path / "glue/cola/validation.parquet", columns)
    glue = TaskConfig("cola", str(tmp_path / "glue"), form="text_to_text", kind="causal")
    task = tasks.load(glue, tokenizer)
    assert isinstance(task, tasks.LanguageTask) and task.metric == "matthews"
    assert (task.num_labels, task.lengths[-1], task.kind) == (0, 128, "causal")
    row = {"question": ["How many?"], "answer": ["3 + 4 = 7\n#### 7"]}
    made.write_parquet(tmp_path / "gsm8k/test.parquet", row)
    config = TaskConfig("gsm8k", str(tmp_path), kind="causal", target_length=40, window=3)
    task = tasks.load(config, tokenizer)
    assert (task.reading.length, task.window, task.metrics) == (40, 3, ("exact_match",))
    names = ("task_id", "prompt", "entry_point", "test")
    made.write_parquet(tmp_path / "humaneval/test.parquet", {name: ["x"] for name in names})
    config = TaskConfig("humaneval", str(tmp_path), kind="causal", samples=10, temperature=0.5)
    task = tasks.load(config, tokenizer)
    assert task.metrics == ("pass@1", "pass@10") and "--run_generated_code" in task.refusal
    with pytest.raises(ValueError, match="kind is 'encoder'; allowed are 'causal', 'encoder_dec"):
        tasks.load(dataclasses.replace(glue, kind="encoder"), tokenizer)
    assert tasks.for_language("gsm8k") and not tasks.for_language("cola")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TaskConfig("cola", form="words"), "form is 'words'; allowed are 'classes', 'text_to_t"),
        (TaskConfig("table", form="text_to_text"), "form is 'text_to_text'; allowed with task 't"),
        (TaskConfig("cola", kind="causal"), "kind is 'causal'; allowed with task 'cola' is 'enc"),
        (TaskConfig("cola", target_length=9), "target_length is 9; allowed with task 'cola' is No"),
        (TaskConfig("gsm8k", samples=2), "samples is 2; allowed with task 'gsm8k' is 1"),
        (TaskConfig("gsm8k", run_generated_code=True), "run_generated_code is True; allowed with"),
        (TaskConfig("squad", kind="causal", stride=9), "stride is 9; allowed with task 'squad' of"),
        (
            TaskConfig("squad", null_threshold=1),
            "null_threshold is 1; allowed with task 'squad' of",
        ),
    ],
)
def test_options_of_language_models_elsewhere(config, message):
    with pytest.raises(ValueError, match=message):
        tasks.load(config)


def test_a_table_needs_a_place():
    with pytest.raises(ValueError, match="data_dir is None; allowed for task 'table' is a file or"):
        tasks.load("table", TOKENIZER)


def test_importing_the_tasks_is_light():
    """Nothing of this is needed for digits, and some of it takes seconds."""
    heavy = (
        "torch",
        "tensorflow",
        "transformers",
        "datasets",
        "sklearn",
        "pandas",
        "linear_theory",
    )
    code = f"import sys, finetune.tasks; sys.exit(' '.join(set({heavy!r}) & set(sys.modules)) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
