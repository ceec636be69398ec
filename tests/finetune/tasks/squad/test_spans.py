"""The decoding of spans against loops that follow the published scripts, and the scores."""

import dataclasses
import types

import jax.numpy as jnp
import numpy as np
import pytest

from finetune.tasks import subsets
from finetune.tasks.squad import decoding, extractive, rules
from finetune.tasks.tokens.tokenizer import from_fast
from tests.finetune.tasks import made
from tests.finetune.tasks.squad import published

FAST = from_fast(made.backend())
SIZES = {"max_length": 17, "stride": 5, "longest": 2}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    rows = published.drawn(12, none=3)
    return published.write(tmp_path_factory.mktemp("squad"), rows, rows, "v2.0")


def network(seed=0):
    """Two logits of every token, which depend on the token, its place and its window."""
    g = np.random.default_rng(seed)
    table, place = (jnp.asarray(g.normal(size=(size, 2)), jnp.float32) for size in (15, 17))

    def forward(params, inputs, ops, key):
        ids = inputs["input_ids"]  # 0 is padding
        return table[ids] + place[: ids.shape[1]] + jnp.sin(ids.sum(axis=1))[:, None, None]

    return types.SimpleNamespace(forward=forward)


def reference(task, net, n_best):
    """id -> (best span, null score - its score), window by window and pair by pair."""
    expected = {}
    for question in task.questions[: len(task.split("train"))]:
        fast = made.backend(None)
        fast.enable_truncation(17, stride=5, strategy="only_second")
        first = fast.encode(question.question, question.context)
        spans, null = [], np.inf
        for row in (first, *first.overflowing):
            start, end = np.asarray(net.forward(None, {"input_ids": np.array([row.ids])}, 0, 0))[
                0
            ].T
            null = min(null, start[0] + end[0])
            inside = [i for i, number in enumerate(row.sequence_ids) if number == 1]
            for i in sorted(inside, key=lambda i: -start[i])[:n_best]:
                for j in sorted(inside, key=lambda j: -end[j])[:n_best]:
                    if i <= j < i + 2:
                        text = question.context[row.offsets[i][0] : row.offsets[j][1]]
                        spans.append((start[i] + end[j], text))
        score, text = max(spans, key=lambda span: span[0], default=(-np.inf, ""))
        expected[question.id] = text, null - score
    return expected


@pytest.mark.parametrize("n_best", [1, 3, 20])
def test_the_best_span_over_windows(two, n_best):
    task = extractive.load("squad_v2", FAST, two, n_best=n_best, **SIZES)
    net = network()
    expected = reference(task, net, n_best)
    # Halfway between two of them, so that rounding decides nothing.
    threshold = float(np.median([difference for _, difference in expected.values()]))
    task = dataclasses.replace(task, threshold=threshold)

    def forward(batch):
        return task.answer(net, None, None, {k: jnp.asarray(v) for k, v in batch.items()})

    answers = task.predict(task.run(forward, "validation", 4))
    records = task.records(answers, task.labels("validation"))
    assert len(records) == len(answers) == 12 < len(task.windows["validation"])
    silent = 0
    for record in records:
        text, difference = expected[record["id"]]
        assert record["span"] == text
        if text:
            assert record["null_difference"] == pytest.approx(difference, abs=1e-5)
        else:
            assert record["null_difference"] is None
        assert record["prediction"] == ("" if difference > threshold else text)
        silent += not record["prediction"]
    assert 0 < silent < 12
    right = [task.questions[n].answers for n in task.labels("validation")]
    scores = task.score(answers, task.labels("validation"))
    assert list(scores) == list(task.majority("validation"))
    mean = [(scores[f"HasAns_{k}"] * 8 + scores[f"NoAns_{k}"] * 4) / 12 for k in ("f1", "exact")]
    assert [scores["f1"], scores["exact_match"]] == pytest.approx(mean)
    assert scores["exact_match"] <= scores["best_exact"]
    differences = answers.differences
    tried = {t: at(answers.spans, differences, right, t) for t in (-np.inf, *differences)}
    assert scores["best_exact"] == max(tried.values())
    # 0 also stands for silence on every question, in the published script too.
    best = tried.get(scores["best_exact_thresh"], tried[-np.inf])
    assert best == scores["best_exact"]


def at(spans, differences, right, threshold):
    """Exact match with this threshold."""
    pairs = zip(spans, differences, strict=True)
    texts = ["" if difference > threshold else span for span, difference in pairs]
    return rules.score(texts, right)["exact_match"]


@pytest.mark.thorough  # with silence above
def test_without_silence_every_question_has_its_span(two, tmp_path):
    rows = published.drawn(4)
    published.write(tmp_path, rows, rows)
    task = extractive.load("squad", FAST, tmp_path, **SIZES)
    assert task.metrics == ("f1", "exact_match") and not task.unanswerable
    net = network()
    answers = task.predict(task.run(lambda b: task.answer(net, None, None, b), "validation", 3))
    assert answers.texts == answers.spans and len(answers) == 4
    assert set(task.score(answers, task.labels("validation"))) == {"f1", "exact_match"}
    assert task.majority("validation")["exact_match"] == 0.5  # red cat, of questions 0 and 3


def test_one_split_holds_questions_together(two):
    task = extractive.load("squad_v2", FAST, two, **SIZES)
    apart = subsets.held_out(task, 0.25, seed=0)
    assert (len(apart.split("train")), len(apart.split("heldout"))) == (9, 3)
    numbers = {n: set(apart.split(n).labels.tolist()) for n in apart.splits}
    assert not numbers["train"] & numbers["heldout"]
    assert sum(map(len, apart.windows.values())) == len(task.windows["train"])
    epoch = [task.batch("train", 3, step, 4) for step in range(task.steps("train", 4))]
    assert sum(batch["weight"].sum() for batch in epoch) == len(task.windows["train"])


def test_loss_is_that_of_transformers(two):
    torch = pytest.importorskip("torch", reason="the reference is torch's cross-entropy")
    task = extractive.load("squad_v2", FAST, two, **SIZES)
    g = np.random.default_rng(0)
    logits = g.normal(size=(5, 9, 2)).astype(np.float32)
    labels = np.array([[0, 0], [3, 5], [2, 2], [8, 12], [1, 2]])
    weight = np.array([1, 1, 1, 1, 0], np.float32)
    loss = torch.nn.CrossEntropyLoss(ignore_index=9)
    halves = [
        loss(torch.tensor(logits[:4, :, i]), torch.tensor(labels[:4, i]).clamp(0, 9))
        for i in range(2)
    ]
    assert float(task.loss(logits, labels, weight)) == pytest.approx(float(sum(halves)) / 2)
    assert float(task.loss(logits, labels, 0 * weight)) == 0


def test_thresholds_of_answers_that_are_never_given():
    scores = decoding.thresholds(["", "cat"], [(), ()], np.array([np.inf, -1.0]))
    silent = {"f1": 1.0, "f1_thresh": 0.0, "exact": 1.0, "exact_thresh": 0.0}
    assert scores == {f"best_{name}": value for name, value in silent.items()}
