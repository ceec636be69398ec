"""SQuAD with an encoder through the commands: trained, scored, asked, handed on and refused."""

import json

import jax
import pytest

from finetune.models import initialise
from finetune.models.bert import BertConfig
from finetune.weights import saving
from tests.finetune.models.tiny import BERT
from tests.finetune.tasks import made
from tests.finetune.tasks.squad import published
from tests.launch.commands import command

SIZES = {**BERT, "vocab_size": 15, "num_hidden_layers": 1, "max_position_embeddings": 32}
SMALL = ["--method=lora", "--rank=2", "--max_length=32", "--stride=8", "--batch_size=8"]


def model(folder, **sizes):
    """A tiny BERT with the tokenizer of the made words."""
    config = BertConfig(num_labels=2, **{**SIZES, **sizes})
    saving.save(folder, initialise(config, jax.random.key(0)))
    made.backend(None).save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of two steps on 2.0."""
    root = tmp_path_factory.mktemp("squad")
    model(root / "bert")
    published.write(root, published.drawn(12, none=3), published.drawn(8, 1, none=3), "v2.0")
    assert command("train", *flags(root), *SMALL, "--steps=2", f"--workdir={root}/run") == 0
    return root


def flags(root, name="squad_v2"):
    return [f"--task={name}", f"--data_dir={root}", f"--model={root}/bert"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_is_scored_by_kind_and_writes_its_answers(folder, tmp_path, capsys):
    result = json.loads((folder / "run/result.json").read_text())
    assert (result["metric"], result["head_parameters"]) == ("f1", 34)
    kinds = ("HasAns_f1", "HasAns_exact", "NoAns_f1", "NoAns_exact")
    best = ("best_f1", "best_f1_thresh", "best_exact", "best_exact_thresh")
    assert list(result["scores"]) == ["f1", "exact_match", *kinds, *best]
    given = [f"--predictions={tmp_path}/p.jsonl", f"--json={tmp_path}/s.json"]
    capsys.readouterr()
    assert command("evaluate", f"--workdir={folder}/run", *given) == 0
    shown = capsys.readouterr().out
    assert "8 rows of validation of squad_v2" in shown and "best_exact_thresh" in shown
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["scores"] == pytest.approx(result["scores"])
    rows = lines(tmp_path / "p.jsonl")
    assert [row["id"] for row in rows] == [f"q{i}" for i in range(8)]
    given = [f"--predictions={tmp_path}/p.json"]
    assert command("evaluate", f"--workdir={folder}/run", *given) == 0
    texts = json.loads((tmp_path / "p.json").read_text())
    assert texts == {row["id"]: row["prediction"] for row in rows}
    silent = max(row["null_difference"] for row in rows) + 1
    given = [f"--null_threshold={silent}", f"--predictions={tmp_path}/q.jsonl"]
    assert command("evaluate", f"--workdir={folder}/run", *given) == 0
    assert all(row["prediction"] == row["span"] for row in lines(tmp_path / "q.jsonl"))


def test_questions_without_answers(folder, tmp_path):
    record = json.loads((folder / "dev-v2.0.json").read_text())
    rows = []
    for paragraph in record["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            del question["answers"], question["is_impossible"]
            rows.append({"context": paragraph["context"], "question": question["question"]})
    (tmp_path / "new.json").write_text(json.dumps(record))
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({**r, "n": 1}) + "\n" for r in rows))
    read = []
    for name in ("new.json", "new.jsonl"):
        given = [f"--data={tmp_path}/{name}", f"--output={tmp_path}/out.jsonl"]
        assert command("predict", f"--workdir={folder}/run", *given) == 0
        read.append(lines(tmp_path / "out.jsonl"))
    first, second = read
    assert list(first[0]) == ["id", "context", "question", "prediction"]
    assert list(second[0]) == ["context", "question", "n", "prediction"]
    predicted = [row["prediction"] for row in first]
    assert predicted == [row["prediction"] for row in second]
    given = [f"--predictions={tmp_path}/p.jsonl", f"--data_dir={tmp_path}/new.json"]
    assert command("evaluate", f"--workdir={folder}/run", *given) == 0
    assert predicted == [row["prediction"] for row in lines(tmp_path / "p.jsonl")]
    assert all(row["prediction"] in row["context"] for row in first)


def test_an_adapter_for_peft_is_scored_as_the_run(folder, tmp_path):
    given = [f"--workdir={folder}/run", "--format=peft", f"--output={tmp_path}/peft"]
    assert command("export", *given) == 0
    adapter = [f"--adapter={tmp_path}/peft", "--max_length=32", "--stride=8"]
    assert command("evaluate", *adapter, *flags(folder), f"--json={tmp_path}/s.json") == 0
    scores = json.loads((tmp_path / "s.json").read_text())["scores"]
    result = json.loads((folder / "run/result.json").read_text())
    assert scores == pytest.approx(result["scores"])


def test_mistakes_are_one_line(folder, tmp_path, capsys):
    def refused(word, *given):
        capsys.readouterr()
        assert command("train", *flags(folder), "--method=head", *given) == 2
        err = capsys.readouterr().err
        assert word in err and err.count("\n") == 1

    refused("flag --n_best=0: allowed is a positive integer", "--n_best=0")
    refused("pooling is 'mean'; allowed with --task=squad_v2 is none", "--pooling=mean")
    refused("stride is 26; allowed with max_length 32 are 0 to", "--max_length=32", "--stride=26")
    refused("form is 'text_to_text'; allowed with task 'squad_v2'", "--form=text_to_text")
    refused("samples is 2; allowed with task 'squad_v2'", "--samples=2")
    refused("padded to 64; allowed are 32, the positions of", "--max_length=128")
    refused("stride is 8; allowed with task 'cola' is None", "--task=cola", "--stride=8")
    long = [published.paragraph(0, "red", asked="the cat on the big mat")]
    published.write(tmp_path, long, long)
    given = [f"--data_dir={tmp_path}", "--task=squad"]
    refused("max_length is 8; allowed with question 'q0' are 10 or", *given, "--max_length=8")
    given.append("--null_threshold=1")
    refused("null_threshold is 1.0; allowed with task 'squad' of kind 'encoder' is 0.0", *given)


@pytest.mark.thorough
@pytest.mark.parametrize("method", ["lora", "adapad", "full"])
def test_what_can_be_learnt_is_learnt(method, tmp_path):
    """All answers are marked exactly, also those of a second window."""
    model(tmp_path / "bert", hidden_size=32, intermediate_size=64)
    published.write(tmp_path, published.drawn(240), published.drawn(60, 1))
    given = ["--max_length=32", "--stride=8", "--batch_size=16", f"--method={method}"]
    given += ["--steps=400", "--evaluate_every=400", "--nodropout", f"--workdir={tmp_path}/run"]
    given += [] if method == "full" else ["--rank=4"]
    assert command("train", *flags(tmp_path, "squad"), *given) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["scores"] == {"f1": 1.0, "exact_match": 1.0}
