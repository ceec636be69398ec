"""The record that training sees, on made columns."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from finetune.tasks import Split, Task
from finetune.tasks.tokens.ragged import Ragged

N, B, K = 11, 4, 3


def take(inputs, indices):
    return {"x": inputs["x"][indices]}


def split(labels, offset=0):
    return Split({"x": np.arange(offset, offset + len(labels))}, labels)


def classification(**changes) -> Task:
    labels = (np.arange(N) % K).astype(np.int32)
    splits = {"train": split(labels), "validation": split(labels[:5], 100)}
    task = Task("made", splits, ("r", "g", "b"), ("accuracy",), take)
    return dataclasses.replace(task, **changes)


def regression() -> Task:
    labels = np.linspace(0, 5, N, dtype=np.float32)
    return Task("line", {"train": split(labels)}, (), ("pearson",), take)


def test_what_it_says_of_itself():
    task = classification()
    assert (task.num_labels, task.regression, task.metric) == (3, False, "accuracy")
    assert task.evaluation == "validation"
    assert task.steps("train", B) == 3
    assert (regression().num_labels, regression().regression) == (1, True)


def test_batches_resume_exactly():
    task, again = classification(), classification()
    run = [task.batch("train", 5, step, B) for step in range(20)]
    for step in (19, 3, 7):
        jax.tree.map(np.testing.assert_array_equal, again.batch("train", 5, step, B), run[step])
    assert set(run[0]) == {"x", "labels", "weight"}
    assert run[0]["labels"].dtype == np.int32
    assert all((batch["labels"] == batch["x"] % K).all() for batch in run)


def test_a_pass_in_order():
    task = classification()
    seen = list(task.in_order("train", B))
    assert [batch["weight"].sum() for batch in seen] == [4, 4, 3]
    got = task.run(lambda batch: jax.nn.one_hot(batch["labels"], K), "train", B)
    assert got.shape == (N, K) and got.dtype == np.float32
    assert (task.predict(got) == task.labels("train")).all()


def test_cross_entropy_is_the_mean_over_rows_with_weight():
    g = np.random.default_rng(0)
    logits, labels = g.normal(size=(B, K)), np.array([0, 2, 1, 1])
    weight = np.array([1, 1, 1, 0], np.float32)
    log_p = special.log_softmax(logits, axis=1)
    expected = -np.mean(log_p[np.arange(3), labels[:3]])
    loss = jax.jit(classification().loss)(jnp.asarray(logits), labels, weight)
    assert loss.dtype == jnp.float32 and loss.shape == ()
    assert loss == pytest.approx(expected, rel=1e-6)


def test_squared_error_is_the_mean_over_rows_with_weight():
    logits, labels = np.array([[1.0], [2.0], [9.0]]), np.array([0.0, 4.0, 0.0], np.float32)
    loss = jax.jit(regression().loss)(jnp.asarray(logits), labels, np.array([1.0, 1.0, 0.0]))
    assert loss == pytest.approx((1 + 4) / 2)


@pytest.mark.parametrize("task", [classification(), regression()], ids=lambda task: task.name)
def test_filling_rows_have_no_gradient(task):
    logits = jnp.ones((2, task.num_labels))
    labels = np.array([1, 0], np.float32 if task.regression else np.int32)
    gradient = jax.grad(task.loss)(logits * 3, labels, np.array([1.0, 0.0]))
    assert jnp.abs(gradient[0]).max() > 0 and (gradient[1] == 0).all()
    nothing = jax.value_and_grad(task.loss)(logits, labels, np.zeros(2))
    assert all((part == 0).all() for part in nothing)


def test_the_loss_of_half_precision_is_taken_in_single():
    # 256 + 1 is not a bfloat16.
    logits = jnp.array([[256.0, 255.0, 0.0]], jnp.bfloat16)
    loss = classification().loss(logits, jnp.array([1]), jnp.ones(1, jnp.bfloat16))
    assert loss.dtype == jnp.float32
    assert loss == pytest.approx(np.log1p(np.e), rel=1e-6)


def test_score_and_majority():
    task = classification()
    labels = task.labels("validation")
    assert task.score(labels, labels) == {"accuracy": 1.0}
    assert task.majority("validation") == {"accuracy": 0.4}
    assert regression().majority("train") == {"pearson": 0.0}


def test_predictions_of_jax_arrays():
    logits = jnp.array([[0.0, 2.0, 1.0]])
    assert jax.jit(classification().predict)(logits).tolist() == [1]
    assert regression().predict(jnp.array([[0.5]])).tolist() == [0.5]


def test_select():
    task = classification().select("train", np.array([3, 1]))
    assert [len(rows) for rows in task.splits.values()] == [2, 5]
    assert next(task.in_order("train", 2))["x"].tolist() == [3, 1]
    with pytest.raises(ValueError, match="split 'train' of task 'made' has 0 rows"):
        task.select("train", np.array([]))


def test_rows_sorted_by_length_in_windows():
    rows = Ragged.from_rows([[1] * (1 + i % 9) for i in range(64)])
    splits = {"train": Split({"input_ids": rows}, np.zeros(64, np.int32))}

    def count(inputs, indices):
        return {"longest": inputs["input_ids"].lengths[indices].max()[None]}

    def total(window):
        task = classification(splits=splits, collate=count, window=window)
        return sum(task.batch("train", 0, step, 8)["longest"][0] for step in range(8))

    assert total(8) < total(1)


def test_a_fingerprint_is_of_contents_and_order():
    ids = Ragged.from_rows([[1, 2], [3], [4, 5, 6]])
    rows = Split({"input_ids": ids, "pixels": np.arange(12).reshape(3, 2, 2)}, np.array([0, 1, 0]))
    same = Split(dict(reversed(rows.inputs.items())), rows.labels.copy(), np.array([7, 8, 9]))
    assert len(rows.fingerprint) == 32 and rows.fingerprint == same.fingerprint
    flat = np.asfortranarray(rows.inputs["pixels"])
    assert Split({**rows.inputs, "pixels": flat}, rows.labels).fingerprint == rows.fingerprint
    others = [
        rows[np.array([1, 0, 2])],
        rows[np.array([0, 1])],
        Split(rows.inputs, np.array([0, 1, 1])),
        Split(rows.inputs, None),
        Split({**rows.inputs, "pixels": rows.inputs["pixels"] + 1}, rows.labels),
        Split(
            {**rows.inputs, "input_ids": Ragged(ids.values, np.array([0, 1, 3, 6]))}, rows.labels
        ),
    ]
    assert len({rows.fingerprint, *(other.fingerprint for other in others)}) == 7


def test_a_text_without_tokens_is_refused():
    ids = Ragged.from_rows([[1], [], [2]])
    with pytest.raises(ValueError, match="row 4 of split 'train' has 0 tokens; allowed are 1 or"):
        classification(splits={"train": Split({"input_ids": ids}, None, np.array([3, 4, 5]))})


def test_hidden_labels_are_predicted_but_not_scored():
    task = classification(splits={"test": Split({"x": np.arange(3)}, None)})
    assert task.batch("test", None, 0, 2)["labels"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="split is 'test', which has no labels"):
        task.majority("test")
    with pytest.raises(ValueError, match="splits of task 'made' are test; allowed is one with"):
        _ = task.evaluation


def test_splits_cannot_be_replaced():
    with pytest.raises(TypeError):
        classification().splits["train"] = None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: classification(splits={}), "task 'made' has no split"),
        (
            lambda: classification(splits={"train": split(np.zeros(0, np.int32))}),
            "split 'train' of task 'made' has 0 rows; allowed are 1 or more",
        ),
        (lambda: classification(metrics=("pearson",)), "metrics is 'pearson'; allowed are"),
        (lambda: classification(window=0), "window is 0; allowed are integers >= 1"),
        (
            lambda: classification().split("dev"),
            "split is 'dev'; allowed are 'train', 'validation'",
        ),
        (lambda: classification().batch("train", -1, 0, B), "seed is -1"),
        (lambda: classification().batch("validation", None, 2, B), "step is 2"),
        (lambda: classification().score(np.zeros(2, int), np.zeros(3, int)), "predictions has 2"),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_one_compilation_per_shape():
    task = classification()
    traces = []

    @jax.jit
    def step(x, labels, weight):
        traces.append(x.shape)
        return task.loss(jax.nn.one_hot(x % K, K), labels, weight)

    calls = functools.partial(task.batch, "train", 0, batch_size=B)
    for number in range(9):
        step(**calls(step=number))
    assert len(traces) == 1
