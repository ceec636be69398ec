"""GLUE as text to text on made files: what the model reads, what it answers, what is scored."""

import dataclasses

import jax
import numpy as np
import pytest

from finetune.models.parts.ops import PLAIN
from finetune.tasks import glue, text_to_text
from finetune.tasks.choices import Chosen
from finetune.tasks.language import KINDS
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.talk import talker
from tests.finetune.tasks.test_glue import folder


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    root = tmp_path_factory.mktemp("vocabularies")
    return {name: maker(root / name) for name, maker in vocabularies.MAKERS.items()}


def text_of(vocabulary, ids) -> str:
    return vocabulary.decode(ids).strip()


def evaluation(name):
    return "validation_matched" if name == "mnli" else "validation"


@pytest.mark.parametrize("name", glue.GLUE)
def test_every_task_of_glue(tmp_path, tokenizers, name):
    tokenizer = tokenizers["t5"]
    folder(tmp_path, name, {"train": 30, evaluation(name): 9})
    task = text_to_text.load(name, tokenizer, "encoder_decoder", tmp_path, max_length=160)
    assert task.num_labels == 0 and task.evaluation == evaluation(name)
    assert task.metrics == (*glue.GLUE[name].metrics, "exact_match", "label_restricted")
    assert "train has 30 of" in task.note
    batch = task.batch("train", 0, 0, 4)
    shown = text_of(tokenizer.vocabulary, batch["input_ids"][0])
    assert shown.startswith(text_to_text.INSTRUCTIONS[name]) and shown.endswith("result:")
    for column in glue.GLUE[name].texts:
        assert f" {column}: " in shown
    assert batch["input_ids"][0][batch["attention_mask"][0] == 1][-1] == 1
    labels = task.labels(task.evaluation)
    classes = task.reading.classes(labels)
    target = task.split(task.evaluation).inputs["target"]
    for row in range(9):
        ids = target[np.array([row])].values
        assert ids[-1] == 1
        assert text_of(tokenizer.vocabulary, ids) == task.reading.names[classes[row]]
    right = task.score(Chosen(classes, np.ones(9, bool)), labels)
    assert right["exact_match"] == right["label_restricted"] == 1
    assert right[task.metric] == pytest.approx(1)
    # The network is asked, and the shapes fit.
    network = talker("encoder_decoder", tokenizer.size)
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    result = task.predict(task.run(answer, task.evaluation, 4))
    assert len(result) == 9
    assert set(task.score(result, labels)) == set(task.majority(task.evaluation))


@pytest.mark.parametrize("name", ["llama", "byte_level"])
def test_a_causal_model_goes_on_where_the_prompt_ends(tmp_path, tokenizers, name):
    tokenizer = tokenizers[name]
    folder(tmp_path, "rte", {"train": 6, "validation": 5})
    task = text_to_text.load("rte", tokenizer, "causal", tmp_path, max_length=256)
    rows = task.split("train").inputs
    one = np.array([1])
    ids = [*rows["source"][one].values, *rows["target"][one].values]
    assert ids[0] == tokenizer.vocabulary.before[0] and ids[-1] == tokenizer.vocabulary.end_id
    shown = tokenizer.vocabulary.decode(ids)
    assert shown.strip().endswith("result: not entailment")
    assert "  " not in shown.strip()


@pytest.mark.parametrize("kind", KINDS)
def test_the_cue_stays_when_sentences_are_cut(tmp_path, tokenizers, kind):
    tokenizer = tokenizers["llama" if kind == "causal" else "t5"]
    columns = {"sentence1": ["the cat " * 40] * 2, "sentence2": ["red"] * 2, "label": [0, 1]}
    for split in ("train", "validation"):
        made.write_parquet(tmp_path / f"mrpc/{split}.parquet", columns)
    task = text_to_text.load("mrpc", tokenizer, kind, tmp_path, max_length=120)
    source = task.split("train").inputs["source"]
    assert source.lengths.tolist() == [120, 120]
    shown = text_of(tokenizer.vocabulary, source[np.array([0])].values)
    assert shown.endswith("sentence2: red result:")
    with pytest.raises(ValueError, match="max_length is 20; allowed with this prompt are"):
        text_to_text.load("mrpc", tokenizer, kind, tmp_path, max_length=20)


def test_scores_of_sts_b_are_rounded_to_fifths():
    assert len(text_to_text.SCORES) == 26
    assert text_to_text.SCORES[:3] == ("0.0", "0.2", "0.4") and text_to_text.SCORES[-1] == "5.0"


def test_hidden_labels_can_be_predicted_and_not_scored(tmp_path, tokenizers):
    folder(tmp_path, "sst2", {"train": 6, "validation": 4})
    made.write_parquet(
        tmp_path / "sst2/test.parquet", {"sentence": made.sentences(5), "label": [-1] * 5}
    )
    task = text_to_text.load("sst2", tokenizers["t5"], "encoder_decoder", tmp_path, test=True)
    with pytest.raises(ValueError, match="split is 'test', which has no labels"):
        task.labels("test")
    network = talker("encoder_decoder", tokenizers["t5"].size)
    result = task.predict(
        task.run(lambda b: task.answer(network, network.params, PLAIN, b), "test", 4)
    )
    assert len(result) == 5


def test_a_tokenizer_of_an_encoder_is_refused(tmp_path):
    folder(tmp_path, "sst2", {"train": 6, "validation": 4})
    with pytest.raises(ValueError, match="tokenizer has no token that ends a text"):
        text_to_text.load("sst2", from_fast(made.backend()), "causal", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_row_22_a_constant_answer_scores_the_majority_and_it_is_logged(tmp_path, tokenizers, kind):
    """MRPC's published 68.38 is 279/408: the score of a model that always answers the same."""
    tokenizer = tokenizers["llama" if kind == "causal" else "t5"]
    labels = [0] * 129 + [1] * 279
    pair = {f"sentence{number}": made.sentences(408, number) for number in (1, 2)}
    made.write_parquet(tmp_path / "mrpc/validation.parquet", {**pair, "label": labels})
    task = text_to_text.load("mrpc", tokenizer, kind, tmp_path, max_length=200)
    network = talker(kind, tokenizer.size)
    # One answer's tokens are always the likeliest.
    liked = np.zeros(tokenizer.size, np.float32)
    liked[list(task.reading.tokens[1])] = 1e4

    def forward(params, inputs, ops, key):
        return network.forward(params, inputs, ops, key) + liked

    constant = dataclasses.replace(network, forward=forward)
    answer = jax.jit(lambda batch: task.answer(constant, constant.params, PLAIN, batch))
    result = task.predict(task.run(answer, "validation", 64))
    assert set(result.classes) == {1}
    scores, floor = task.score(result, task.labels("validation")), task.majority("validation")
    assert round(100 * scores["accuracy"], 2) == round(100 * floor["accuracy"], 2) == 68.38
    # Beside it the metrics that see through it: a choice between two is no exact match, and what
    # is learnt would raise F1 above that of the constant.
    assert scores["f1"] == floor["f1"] and floor["exact_match"] == floor["accuracy"]
    assert scores["exact_match"] <= scores["label_restricted"] == scores["accuracy"]


def test_row_22_majority_of_the_real_splits(tokenizers):
    root = made.shared("glue")
    expected = {"mrpc": 0.6838, "cola": 0.6913}
    for name, share in expected.items():
        task = text_to_text.load(name, tokenizers["t5"], "encoder_decoder", root, max_length=512)
        assert round(task.majority("validation")["label_restricted"], 4) == share
        assert round(task.majority("validation")["exact_match"], 4) == share
    assert task.majority("validation")["matthews"] == 0
