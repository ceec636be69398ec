"""GSM8K: the number a text ends in, the prompts and targets, and scoring what a model writes."""

import dataclasses
from fractions import Fraction

import jax
import numpy as np
import pytest

from finetune.models.parts.ops import PLAIN
from finetune.tasks import gsm8k
from finetune.tasks.generated_text import GeneratedText
from finetune.tasks.gsm8k import final_number, same
from finetune.tasks.language import KINDS
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.talk import greedy, talker


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is: 18", 18),
        ("The answer is: 18.", 18),
        ("The answer is: $1,200.", 1200),
        ("The answer is: 1,234,567.50", Fraction(2469135, 2)),
        ("The answer is: -5", -5),
        ("The answer is: -$5", -5),
        ("The answer is: $-5", -5),
        ("The answer is: \u22124", -4),
        ("The answer is: 18 dollars", 18),
        ("The answer is: 75%", 75),
        ("The answer is: 1/2", Fraction(1, 2)),
        ("The answer is: .5", Fraction(1, 2)),
        ("The answer is: 5.0", 5),
        ("The answer is:\n42", 42),
        # What goes on behind the answer is no answer.
        ("The answer is: 18\n\n### Instruction:\nHow much is 3 + 4?", 18),
        ("The answer is: 3 + 4 = 7", 7),
        ("The answer is: 3\nNo. The answer is: 4", 4),
        # Nothing behind the cue: the last number of all.
        ("7 it is. The answer is: unknown", 7),
        ("so 3 * 4 = 12 apples", 12),
        # A difference is no negative number, a list no large one.
        ("16 - 3", 3),
        ("5-3", 3),
        ("1,2", 2),
        ("3/0 or 4", 4),
        ("12,34", 34),
        ("none at all", None),
        ("", None),
        ("The answer is:", None),
        ("The answer is: /", None),
    ],
)
def test_final_numbers(text, number):
    assert final_number(text) == number


def test_numbers_are_compared_exactly():
    assert same("It is 1,000.0", "1000") and not same("1000.01", "1000")
    assert not same("many", "1000")
    # Beyond what floating point tells apart.
    assert not same("10000000000000001", "10000000000000000")


def rows(count, big=0):
    questions = [f"the cat has {i} apples and {i + 1} red. How many?" for i in range(count)]
    answers = [f"{i} + {i + 1} = <<{i}+{i + 1}={2 * i + 1}>>{2 * i + 1}." for i in range(count)]
    answers = [f"{a}\n#### {2 * i + 1 + big:,}" for i, a in enumerate(answers)]
    return {"question": questions, "answer": answers}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    root = tmp_path_factory.mktemp("vocabularies")
    return {name: maker(root / name) for name, maker in vocabularies.MAKERS.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    made.write_parquet(root / "gsm8k/train.parquet", rows(12, big=1000))
    made.write_parquet(root / "gsm8k/test.parquet", rows(5))
    return root


@pytest.mark.parametrize("name", vocabularies.MAKERS)
def test_a_row_is_a_framed_question_and_an_answer_that_ends_in_the_cue(data, tokenizers, name):
    tokenizer = tokenizers[name]
    kind = "encoder_decoder" if name == "t5" else "causal"
    task = gsm8k.load(tokenizer, kind, data, max_length=256)
    assert task.evaluation == "test" and task.num_labels == 0 and task.note == ""
    assert task.labels("test").tolist() == ["1", "3", "5", "7", "9"]
    one, inputs = np.array([2]), task.split("train").inputs
    source, target = inputs["source"][one].values.tolist(), inputs["target"][one].values.tolist()
    question = rows(12)["question"][2]
    shown = tokenizer.vocabulary.decode(source).strip()
    answer = tokenizer.vocabulary.decode(target).strip()
    if name == "t5":
        # Its vocabulary has no line breaks.
        assert shown == " ".join(gsm8k.FRAME.format(question=question).split())
        assert answer == "2 + 3 = 5. The answer is: 1005" and source[-1] == 1
    else:
        assert shown == gsm8k.FRAME.format(question=question)
        assert answer == "2 + 3 = 5.\nThe answer is: 1005"
        assert tokenizer.vocabulary.decode(source + target).endswith(
            "### Response: 2 + 3 = 5.\n" + answer[11:]
        )
    assert target[-1] == tokenizer.vocabulary.end_id
    # What a model is taught to write scores.
    texts = [tokenizer.vocabulary.decode(row) for row in np.split(*split_of(task, "train"))]
    assert task.score(texts, task.labels("train")) == {"exact_match": 1.0}


def split_of(task, name):
    target = task.split(name).inputs["target"]
    return target.values, target.offsets[1:-1]


def test_an_evaluation_reads_prompts_alone(data, tokenizers):
    task = gsm8k.load(tokenizers["llama"], "causal", data, max_length=256)
    (batch,) = task.in_order("test", 8)
    assert set(batch) == {"input_ids", "attention_mask", "row"}
    assert batch["row"].tolist() == [0, 1, 2, 3, 4, 0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_model_writes_is_scored(data, tokenizers, kind):
    pytest.importorskip("finetune.tasks.generation", reason="text generation is not there")
    tokenizer = tokenizers["t5" if kind == "encoder_decoder" else "llama"]
    task = gsm8k.load(tokenizer, kind, data, max_length=256)
    task = dataclasses.replace(task, reading=gsm8k.FinalNumber(tokenizer.vocabulary, 12))
    network = talker(kind, tokenizer.size, start_id=tokenizer.pad_id)
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    result = task.run(answer, "test", 4)
    assert result.shape == (5, 1, 12) and result.dtype == np.int32
    written = []
    for batch in task.in_order("test", 4):
        written += greedy(network, batch, 12, tokenizer.vocabulary.end_id)
    texts = [
        tokenizer.vocabulary.decode([i for i in row if i != tokenizer.vocabulary.end_id])
        for row in written[:5]
    ]
    assert task.predict(result) == texts
    records = task.reading.records(texts, task.labels("test"))
    assert [record["text"] for record in records] == texts and records[1]["label"] == "3"


@pytest.mark.parametrize("kind", KINDS)
def test_given_answers_are_scored_by_their_loss(data, tokenizers, kind):
    tokenizer = tokenizers["t5" if kind == "encoder_decoder" else "llama"]
    task = gsm8k.load(tokenizer, kind, data, max_length=256, likelihood=True)
    network = talker(kind, tokenizer.size, start_id=tokenizer.pad_id)
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    scores = task.score(task.predict(task.run(answer, "test", 4)), task.labels("test"))
    assert set(scores) == {"loss", "perplexity"}
    total, tokens = 0.0, 0
    for step in range(2):
        # The loss that training falls by: a mean over rows of their tokens' sums.
        batch = task.batch("test", None, step, 4)
        inputs = {name: leaf for name, leaf in batch.items() if name not in ("labels", "weight")}
        logits = network.forward(network.params, inputs, PLAIN, None)
        total += float(task.loss(logits, batch["labels"], batch["weight"]) * batch["weight"].sum())
        tokens += int(batch["weight"].sum())
    assert tokens == task.split("test").inputs["target"].lengths.sum()
    assert scores["loss"] == pytest.approx(total / tokens, rel=1e-5)


def test_samples_differ_and_repeat(data, tokenizers):
    pytest.importorskip("finetune.tasks.generation", reason="text generation is not there")
    tokenizer = tokenizers["llama"]
    task = gsm8k.load(tokenizer, "causal", data, max_length=256)
    drawn = GeneratedText(tokenizer.vocabulary, 10, samples=3, temperature=1.0)
    task = dataclasses.replace(task, reading=drawn)
    network = talker("causal", tokenizer.size)
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    one, two = task.run(answer, "test", 5), task.run(answer, "test", 5)
    assert one.shape == (5, 3, 10) and np.array_equal(one, two)
    assert not np.array_equal(one[:, 0], one[:, 1])


def test_samples_without_a_temperature_are_refused(tokenizers):
    with pytest.raises(
        ValueError, match="temperature is 0; allowed for 3 samples are numbers above"
    ):
        GeneratedText(tokenizers["llama"].vocabulary, 10, samples=3)


def test_the_majority_is_the_most_frequent_number(data, tokenizers):
    task = gsm8k.load(tokenizers["llama"], "causal", data, max_length=256)
    assert task.majority("test") == {"exact_match": 0.2}
    assert task.reading.majority(np.array(["1,000", "1000.0", "7"])) == {"exact_match": 2 / 3}


def test_long_rows(tmp_path, tokenizers):
    columns = rows(6)
    columns["answer"][3] = "the cat " * 200 + "#### 7"
    made.write_parquet(tmp_path / "train.parquet", columns)
    made.write_parquet(tmp_path / "test.parquet", columns)
    task = gsm8k.load(tokenizers["llama"], "causal", tmp_path, max_length=256)
    assert task.note == "train without 1 rows that are too long"
    assert len(task.split("train")) == 5 and len(task.split("test")) == 6
    assert task.labels("train").tolist() == ["1", "3", "5", "9", "11"]
    with pytest.raises(ValueError, match="at least one row of split 'train' fits in"):
        gsm8k.load(tokenizers["llama"], "causal", tmp_path, max_length=64)
    (tmp_path / "train.parquet").unlink()
    with pytest.raises(ValueError, match="max_length is 64; allowed with the prompts of split 'te"):
        gsm8k.load(tokenizers["llama"], "causal", tmp_path, max_length=64)


def test_training_rows_of_metamath(tmp_path, tokenizers):
    responses = [
        "3 + 4 = 7 apples.\n#### 7\nThe answer is: 7",
        "It is half.\nThe answer is: \\frac{1}{2}",
    ]
    columns = {"query": ["a cat", "a red cat"], "response": responses}
    made.write_parquet(tmp_path / "train.parquet", columns)
    made.write_parquet(tmp_path / "test.parquet", rows(2))
    tokenizer = tokenizers["byte_level"]
    task = gsm8k.load(tokenizer, "causal", tmp_path, max_length=512)
    written = [tokenizer.vocabulary.decode(row) for row in np.split(*split_of(task, "train"))]
    assert written == [" 3 + 4 = 7 apples.\nThe answer is: 7", " " + responses[1]]
    assert task.labels("train").tolist() == ["7", "\\frac{1}{2}"]
    columns["response"][1] = "It is half."
    made.write_parquet(tmp_path / "train.parquet", columns)
    with pytest.raises(ValueError, match="allowed is a text with 'The answer is: "):
        gsm8k.load(tokenizer, "causal", tmp_path, max_length=512)


@pytest.mark.parametrize("answer", ["no mark 4", "3 + 4 = 7\n#### seven", "#### 7"])
def test_answers_without_a_number_are_refused(tmp_path, tokenizers, answer):
    made.write_parquet(tmp_path / "train.parquet", {"question": ["a"], "answer": [answer]})
    with pytest.raises(ValueError, match="allowed is a text with '#### number' there"):
        gsm8k.load(tokenizers["llama"], "causal", tmp_path)


@pytest.mark.thorough  # made files have their layout; the numbers of rows are theirs
def test_the_real_files(tokenizers):
    task = gsm8k.load(tokenizers["byte_level"], "causal", made.shared(), 2048, 2048)
    assert len(task.split("train")) == 7473 and len(task.split("test")) == 1319
    texts = [
        tokenizers["byte_level"].vocabulary.decode(row) for row in np.split(*split_of(task, "test"))
    ]
    assert task.score(texts, task.labels("test")) == {"exact_match": 1.0}
    assert not any("<<" in text for text in texts)
    assert task.majority("test")["exact_match"] < 0.05
