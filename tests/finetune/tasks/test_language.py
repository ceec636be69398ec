"""Batches and loss of tasks of language models, of both kinds."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
import scipy

from finetune.models.parts.ops import PLAIN
from finetune.tasks import batches, prompts
from finetune.tasks.choices import Choices
from finetune.tasks.language import LanguageTask
from finetune.tasks.splits import Split
from finetune.tasks.tokens.ragged import Ragged
from tests.finetune.tasks.talk import talker

SOURCES = [[5, 6, 7], [8], [5, 9, 6, 7, 8], [7, 7]]
TARGETS = [[3, 1], [4, 4, 1], [3, 1], [4, 4, 1]]
KINDS = ("causal", "encoder_decoder")
FIRST = ("causal", pytest.param("encoder_decoder", marks=pytest.mark.thorough))


def made(kind, **options):
    reading = Choices(("no", "yes"), ((3, 1), (4, 4, 1)), ("accuracy",))
    rows = {"source": Ragged.from_rows(SOURCES), "target": Ragged.from_rows(TARGETS)}
    split = Split(rows, np.array([0, 1, 0, 1]))
    given = {"lengths": (4, 8), "target_lengths": (3,), "pad_id": 0, "start_id": 2} | options
    return LanguageTask("made", {"train": split, "validation": split}, kind, reading, **given)


def test_an_encoder_decoder_reads_the_answer_one_place_to_the_right():
    batch = made("encoder_decoder").batch("train", None, 0, 2)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0], [8, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch["decoder_input_ids"].tolist() == [[2, 3, 1], [2, 4, 4]]
    assert batch["labels"].tolist() == [[3, 1, -100], [4, 4, 1]]
    assert batch["weight"].tolist() == [2, 3]


def test_a_causal_model_reads_prompt_and_answer():
    batch = made("causal").batch("train", None, 0, 2)

    # Room for the longest answer in the place of a row's own takes 5 tokens, and 4 are not enough.
    def padded(rows, fill):
        return [row + [fill] * (8 - len(row)) for row in rows]

    assert batch["input_ids"].tolist() == padded([[5, 6, 7, 3], [8, 4, 4]], 0)
    assert batch["attention_mask"].tolist() == padded([[1, 1, 1, 1], [1, 1, 1]], 0)
    labels = [[-100, -100, 3, 1], [4, 4, 1]]
    assert batch["labels"].tolist() == padded(labels, -100)
    assert batch["weight"].tolist() == [2, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_every_array_is_int32_but_the_weight(kind):
    batch = made(kind).batch("train", 0, 0, 3)
    assert batch.pop("weight").dtype == np.float32
    assert {leaf.dtype for leaf in batch.values()} == {np.dtype(np.int32)}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_depend_on_seed_and_step_only(kind):
    one, two = made(kind), made(kind)
    two.batch("train", 0, 0, 3)
    for step in (0, 5):
        a, b = one.batch("train", 3, step, 3), two.batch("train", 3, step, 3)
        assert all(np.array_equal(a[name], b[name]) for name in a)


# Of both kinds the batches are looked at above; what the loss makes of them is the same.
@pytest.mark.parametrize("kind", FIRST)
def test_the_loss_is_the_mean_over_tokens(kind):
    """Against a loop over rows and tokens, and optax's cross-entropy."""
    task, network = made(kind), talker(kind, 10, start_id=2)
    batch = task.batch("train", None, 0, 4)
    inputs = {n: leaf for n, leaf in batch.items() if n not in ("labels", "weight")}
    forward = jax.jit(lambda inputs: network.forward(network.params, inputs, PLAIN, None))
    logits = forward(inputs)
    logs = scipy.special.log_softmax(logits, axis=-1)
    loss = jax.jit(task.loss)
    each = []
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        for place, token in enumerate(target):
            at = place + (len(source) - 1 if kind == "causal" else 0)
            each.append(-logs[row, at, token])
    result = loss(logits, batch["labels"], batch["weight"])
    np.testing.assert_allclose(result, np.mean(each), rtol=1e-6)
    safe = np.where(batch["labels"] < 0, 0, batch["labels"])
    reference = optax.softmax_cross_entropy_with_integer_labels(logits, safe)
    reference = np.sum(np.asarray(reference) * (batch["labels"] >= 0)) / batch["weight"].sum()
    np.testing.assert_allclose(result, reference, rtol=1e-6)
    # Long rows weigh more, so that parts of a batch add up to it.
    parts = [task.batch("train", None, step, 1) for step in range(4)]
    total = 0.0
    for part in parts:
        inputs = {n: leaf for n, leaf in part.items() if n not in ("labels", "weight")}
        logits = forward(inputs)
        total += float(loss(logits, part["labels"], part["weight"])) * part["weight"].sum()
    np.testing.assert_allclose(total / batch["weight"].sum(), result, rtol=1e-6)


@pytest.mark.parametrize("kind", FIRST)
def test_rows_that_fill_a_batch_do_not_count(kind):
    task, network = made(kind), talker(kind, 10, start_id=2)
    full, filled = task.batch("train", None, 1, 3), task.batch("train", None, 3, 1)
    assert full["weight"].tolist() == [3, 0, 0]

    @jax.jit
    def loss(batch):
        inputs = {n: leaf for n, leaf in batch.items() if n not in ("labels", "weight")}
        logits = network.forward(network.params, inputs, PLAIN, None)
        return task.loss(logits, batch["labels"], batch["weight"])

    np.testing.assert_allclose(loss(full), loss(filled), rtol=1e-6)
    nothing = {**full, "weight": 0 * full["weight"]}
    assert float(loss(nothing)) == 0


def test_an_evaluation_shows_answers_only_to_a_reading_that_is_taught():
    class Writes(Choices):
        taught = False

    task = made("causal")
    assert "labels" in next(task.in_order("validation", 4))
    writes = Writes(task.reading.names, task.reading.tokens, task.reading.own)
    first, second = dataclasses.replace(task, reading=writes).in_order("validation", 3)
    assert set(first) == {"input_ids", "attention_mask", "row"}
    assert first["input_ids"].tolist() == [
        [5, 6, 7, 0, 0, 0, 0, 0],
        [8, *[0] * 7],
        [5, 9, 6, 7, 8, 0, 0, 0],
    ]
    assert second["row"].tolist() == [3, 3, 3]


def test_selected_rows():
    task = made("causal").select("validation", np.array([2]))
    assert task.labels("validation").tolist() == [0] and len(task.split("train")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": (4,)}, "source of split 'train' is 5; allowed are integers from 1 to 4"),
        (
            {"target_lengths": (2,)},
            "target of split 'train' is 3; allowed are integers from 1 to 2",
        ),
        ({"window": 0}, "window is 0"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        made("causal", **options)
    with pytest.raises(ValueError, match="kind is 'encoder'; allowed are 'causal'"):
        made("encoder")
    with pytest.raises(ValueError, match="split is 'test'"):
        made("causal").split("test")


def test_prompts_and_answers_share_one_of_a_few_lengths():
    few = prompts.together((4, 8), (2, 3))

    def padded(source, target):
        rows = prompts.paired([[5] * source], [[4] * target])
        batch = prompts.causal(rows, batches.in_order(1, 1, 0), 0, (4, 8), (2, 3))
        return batch["input_ids"].shape[1]

    for source in range(1, 9):
        for target in range(1, 4):
            assert padded(source, target) == min(n for n in few if n >= source + target - 1)
    assert few == (2, 3, 4, 8, 9, 10)
