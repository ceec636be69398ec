"""SQuAD's files, prompts and answers."""

import json

import numpy as np
import pytest

from finetune import tasks
from finetune.tasks.squad import files
from finetune.tasks.squad import task as squad
from finetune.tasks.tokens.ragged import Ragged
from tests.finetune.tasks import made, vocabularies

CONTEXT = "She has 3 apples and he has 12 apples."
KINDS = {"t5": "encoder_decoder", "llama": "causal"}


def question(number, answers, **more):
    places = [{"text": text, "answer_start": CONTEXT.find(text)} for text in answers]
    asked = f"How many apples has person {number}?"
    return {"id": f"q{number}", "question": asked, "answers": places, **more}


def published(folder, version, questions):
    folder.mkdir(parents=True, exist_ok=True)
    record = {"data": [{"title": "A", "paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    for split in ("train", "dev"):
        file = folder / f"{split}-{version}.json"
        file.write_text(json.dumps({"version": version, **record}))
    return folder


@pytest.fixture
def one(tmp_path):
    return published(
        tmp_path / "one", "v1.1", [question(0, ["3", "3 apples"]), question(1, ["12"])]
    )


@pytest.fixture
def two(tmp_path):
    none = {"is_impossible": True, "plausible_answers": [{"text": "3", "answer_start": 8}]}
    answered = question(0, ["3", "3 apples"], is_impossible=False)
    rows = [answered, question(1, [], **none), question(2, [], **none)]
    return published(tmp_path / "two" / "squad_v2", "v2.0", rows).parent


@pytest.mark.parametrize("name", KINDS)
def test_prompts_and_answers(one, tmp_path, name):
    tokenizer = vocabularies.MAKERS[name](tmp_path / "t")
    config = tasks.TaskConfig("squad", data_dir=str(one), kind=KINDS[name])
    task = tasks.load(config, tokenizer)
    assert task.evaluation == "validation" and task.metrics == ("f1", "exact_match")
    rows = task.split("train").inputs
    said = [
        tokenizer.vocabulary.decode(rows[n].values[: rows[n].offsets[1]]).strip()
        for n in ("source", "target")
    ]
    wanted = f"question: How many apples has person 0? context: {CONTEXT} answer:"
    assert said == [wanted, "3"]
    batch = next(task.in_order("validation", 2))
    assert set(batch) == {"input_ids", "attention_mask", "row"}


def written(task, tokenizer, answers):
    vocabulary = tokenizer.vocabulary
    rows = [[*row, vocabulary.end_id] for row in vocabulary.words(answers)]
    ids = Ragged.from_rows(rows).padded(np.arange(len(rows)), task.reading.room, task.pad_id)
    return task.predict(ids[:, None])


def test_answers_are_scored(one, tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    task = squad.load("squad", tokenizer, "causal", one)
    found = written(task, tokenizer, ["3 apples", "13"])
    assert found == ["3 apples", "13"]
    labels = task.labels("validation")
    assert task.score(found, labels) == {"f1": 0.5, "exact_match": 0.5}
    assert task.majority("validation") == {"f1": 0.5, "exact_match": 0.5}
    wanted = {"id": "q0", "prediction": "3 apples", "answers": ["3", "3 apples"]}
    assert task.reading.records(found, labels)[0] == wanted


def test_no_answer_is_said_by_a_word(two, tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    task = squad.load("squad_v2", tokenizer, "causal", two)
    target = task.split("train").inputs["target"]
    last = target.values[target.offsets[1] : target.offsets[2]]
    assert tokenizer.vocabulary.decode(last).strip() == "unanswerable"
    found = written(task, tokenizer, ["3", "Unanswerable.", "3"])
    assert found == ["3", "", "3"]
    scores = task.score(found, task.labels("validation"))
    assert scores == pytest.approx({"f1": 2 / 3, "exact_match": 2 / 3})
    assert task.majority("validation")["exact_match"] == pytest.approx(2 / 3)


def test_tables_as_the_hub_has_them(one, tmp_path):
    read = files.read("squad", one)
    for split, questions in read.items():
        answers = [{"text": q.answers, "answer_start": q.starts} for q in questions]
        table = {n: [getattr(q, n) for q in questions] for n in ("id", "context", "question")}
        made.write_parquet(tmp_path / f"hub/{split}.parquet", {**table, "answers": answers})
    assert files.read("squad", tmp_path / "hub") == read


def test_long_rows_are_left_out_or_cut_and_counted(one, tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    source = squad.load("squad", tokenizer, "causal", one).split("train").inputs["source"]
    lengths = source.lengths
    record = json.loads((one / "train-v1.1.json").read_text())
    long = {"context": CONTEXT * 3, "qas": [question(7, ["3"])]}
    record["data"][0]["paragraphs"].append(long)
    for split in ("train", "dev"):
        (one / f"{split}-v1.1.json").write_text(json.dumps(record))
    task = squad.load("squad", tokenizer, "causal", one, max_length=int(lengths.max()))
    wanted = "1 of 3 rows of train are too long and left out"
    assert task.note == f"{wanted}; 1 of 3 rows of validation are too long and cut"
    assert len(task.split("train")) == 2 and len(task.split("validation")) == 3
    cut = task.split("validation").inputs["source"]
    assert cut.lengths[2] == lengths.max()
    assert tokenizer.vocabulary.decode(cut.values[cut.offsets[2] :]).endswith(" answer:")


def test_mistakes_are_one_line(one, two, tmp_path):
    tokenizer = vocabularies.llama(tmp_path / "t")
    with pytest.raises(FileNotFoundError, match=r"or train-v2\.0\.json and dev-v2\.0\.json"):
        files.read("squad_v2", one)
    for split in ("train", "dev"):
        whole = (two / f"squad_v2/{split}-v2.0.json").read_text()
        (one / f"{split}-v1.1.json").write_text(whole)
    with pytest.raises(ValueError, match="question 'q1' of split 'train' has no answer, which"):
        files.read("squad", one)
    (one / "train-v1.1.json").write_text('{"data": [{"title": 3}]}')
    with pytest.raises(ValueError, match=r"is not of SQuAD's published form .*paragraphs"):
        files.read("squad", one)
    with pytest.raises(ValueError, match=r"max_length is 8; allowed with question 'q0' are \d+"):
        squad.load("squad_v2", tokenizer, "causal", two, max_length=8)
