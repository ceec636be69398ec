"""Exact match and restricted choice against plain loops and against decoding token by token."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import scipy

from finetune.models.parts.ops import PLAIN
from finetune.tasks import metrics, prompts
from finetune.tasks.choices import Choices, Chosen
from finetune.tasks.language import KINDS, LanguageTask
from finetune.tasks.splits import Split
from finetune.tasks.tokens.ragged import Ragged
from tests.finetune.tasks.talk import greedy, talker, trained

END = 1
APART = ((3, END), (4, 5, END))  # they differ at once
LATER = ((4, 3, END), (4, 5, 6, END))  # only behind a token they share
thorough = functools.partial(pytest.param, marks=pytest.mark.thorough)
NOWHERE = ((3, END), (4, END), (4, 5, END))  # the second begins as the third does


def made(kind, answers, count=24, own=("accuracy",), seed=0):
    g = np.random.default_rng(seed)
    sources = [g.integers(2, 12, g.integers(1, 8)).tolist() for _ in range(count)]
    means = np.array([np.mean(row) for row in sources])
    labels = np.argsort(np.argsort(means)) * len(answers) // count
    rows = {
        "source": Ragged.from_rows(sources),
        "target": Ragged.from_rows(answers[label] for label in labels),
    }
    reading = Choices(tuple("abc"[: len(answers)]), answers, own)
    split = Split(rows, labels)
    lengths = {"lengths": (8,), "target_lengths": (reading.room,)}
    splits = {"train": split, "validation": split}
    return LanguageTask("made", splits, kind, reading, pad_id=0, start_id=0, **lengths)


def read(task, network, batch_size=7):
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    return task.run(answer, "validation", batch_size)


def by_hand(forward, kind, source, answer):
    """The logits at every place of an answer: (len(answer), V)."""
    if kind == "causal":
        ids = np.array([[*source, *answer[:-1]]])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return np.asarray(forward(inputs))[0, len(source) - 1 :]
    ids = np.array([source])
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    inputs["decoder_input_ids"] = np.array([[0, *answer[:-1]]])
    return np.asarray(forward(inputs))[0]


@pytest.mark.parametrize(
    ("answers", "place", "kind"),
    [
        (APART, 0, "encoder_decoder"),
        (LATER, 1, "causal"),
        thorough(NOWHERE, None, "causal"),
        thorough(APART, 0, "causal"),
        *(thorough(LATER, 1, "encoder_decoder"), thorough(NOWHERE, None, "encoder_decoder")),
    ],
)
def test_scores_are_those_of_a_loop_over_rows_and_answers(kind, answers, place):
    task, network = made(kind, answers), talker(kind, 12)
    assert task.reading.place == place
    result = read(task, network)
    forward = jax.jit(lambda inputs: network.forward(network.params, inputs, PLAIN, None))
    assert result.shape == (24, len(answers) + 1) and result.dtype == np.float32
    source = task.split("validation").inputs["source"]
    for row in range(24):
        tokens = source[np.array([row])].values.tolist()
        expected = []
        for answer in answers:
            logits = by_hand(forward, kind, tokens, answer)
            if place is None:
                log_p = scipy.special.log_softmax(logits, axis=-1)
                expected.append(sum(log_p[at, token] for at, token in enumerate(answer)))
            else:
                expected.append(logits[place, answer[place]])
        np.testing.assert_allclose(result[row, :-1], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        (NOWHERE, "encoder_decoder"),
        *(thorough(APART, kind) for kind in KINDS),
        thorough(NOWHERE, "causal"),
    ],
)
def test_exact_match_is_what_greedy_decoding_writes(kind, answers):
    task = made(kind, answers)
    network = trained(talker(kind, 12), task)
    exact = task.predict(read(task, network)).exact
    source, written = task.split("validation").inputs["source"], []
    for row in range(24):
        tokens = source[np.array([row])].values[None]
        inputs = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        written += greedy(network, inputs, task.reading.room, END)
    labels = task.labels("validation")
    expected = [tuple(row) == answers[label] for row, label in zip(written, labels, strict=True)]
    assert exact.tolist() == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("kind", ["causal", thorough("encoder_decoder")])
def test_exact_match_is_what_generation_writes_in_batches(kind):
    generation = pytest.importorskip(
        "finetune.tasks.generation", reason="there is no generation yet"
    )
    task = made(kind, APART)
    network = trained(talker(kind, 12), task)
    exact = task.predict(read(task, network)).exact

    def written(batch):
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        return generation.generate(
            lambda inputs: network.begin(network.params, inputs, PLAIN, 3),
            lambda cache, tokens: network.advance(network.params, cache, tokens, PLAIN),
            inputs,
            length=3,
            stop=(END,),
            pad=0,
        )

    source, rows = task.split("validation").inputs["source"], np.arange(24)
    result = np.asarray(written(prompts.asked(source, rows, 0, (8,)))).tolist()
    answers = [[*APART[label], 0, 0][:3] for label in task.labels("validation")]
    assert [f == a for f, a in zip(result, answers, strict=True)] == exact.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answers", [thorough(APART), LATER, NOWHERE])
def test_the_choice_does_not_look_at_the_right_answer(kind, answers):
    task, network = made(kind, answers), talker(kind, 12, seed=1)
    split = task.split("validation")
    wrong = (split.labels + 1) % len(answers)
    rows = {**split.inputs, "target": Ragged.from_rows(answers[label] for label in wrong)}
    other = dataclasses.replace(task, splits={"validation": Split(rows, wrong)})
    ours, reference = read(task, network)[:, :-1], read(other, network)[:, :-1]
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["causal", thorough("encoder_decoder")])
def test_training_raises_both_metrics_above_the_majority(kind):
    task = made(kind, APART)
    network = trained(talker(kind, 12, width=48), task, steps=200)
    scores = task.score(task.predict(read(task, network)), task.labels("validation"))
    floor = task.majority("validation")
    assert set(scores) == set(floor) == {"accuracy", "exact_match", "label_restricted"}
    assert all(scores[name] > floor[name] + 0.1 for name in scores)
    # An exact match is a right choice too.
    assert scores["exact_match"] <= scores["label_restricted"] == scores["accuracy"]


def test_own_metrics_are_of_the_choice():
    labels = np.array([0, 1, 1, 0, 1])
    reading = Choices(("no", "yes"), APART, ("matthews", "accuracy"))
    chosen = Chosen(np.array([0, 1, 0, 0, 1]), np.zeros(5, bool))
    scores = reading.score(chosen, labels)
    assert scores["matthews"] == metrics.matthews(chosen.classes, labels)
    assert scores["exact_match"] == 0 and scores["label_restricted"] == 0.8
    assert reading.metrics == ("matthews", "accuracy", "exact_match", "label_restricted")
    assert reading.records(chosen, labels)[2] == {
        "prediction": "no",
        "label": "yes",
        "exact_match": False,
    }
    assert reading.records(chosen, None)[0] == {"prediction": "no"}


def test_numbers_in_words():
    values = np.array([0.0, 0.2, 0.4])
    reading = Choices(("0.0", "0.2", "0.4"), NOWHERE, ("pearson_spearman",), values)
    labels = np.array([0.04, 0.17, 0.5, 0.31])
    assert reading.classes(labels).tolist() == [0, 1, 2, 2]
    scores = reading.score(Chosen(np.array([0, 1, 2, 1]), np.ones(4, bool)), labels)
    assert scores["pearson_spearman"] == pytest.approx(
        metrics.pearson_spearman(np.array([0, 0.2, 0.4, 0.2]), labels)
    )
    assert scores["label_restricted"] == 0.75
    assert reading.majority(labels)["pearson_spearman"] == 0
    assert reading.majority(labels)["exact_match"] == 0.5


def test_answers_with_the_same_tokens_are_refused():
    with pytest.raises(ValueError, match="answers 'a' and 'c' have the same tokens; allowed are"):
        Choices(("a", "b", "c"), ((3, END), (4, END), (3, END)), ("accuracy",))
