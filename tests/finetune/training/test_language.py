"""A task of a language model in the loop: the same step, and an evaluation of its own."""

import jax
import numpy as np
import pytest

from finetune import optimiser
from finetune.methods import MethodConfig, make
from finetune.training import adapter_files, state, step
from finetune.training.loop import LoopConfig, fit
from tests.finetune.tasks.talk import talker
from tests.finetune.tasks.test_choices import APART, made
from tests.finetune.training.test_step import SGD, close

# The batches of causal models are looked at with their task.
AXIS = ("encoder_decoder", pytest.param("causal", marks=pytest.mark.thorough))
ADAM = optimiser.OptimiserConfig(learning_rate=0.05, warmup=0)


def started(kind, options, settings, steps=40):
    task, network = made(kind, APART), talker(kind, 12, width=48)
    method = make(MethodConfig("lora", rank=4), options, steps)
    head_tx = optimiser.optimiser(options, steps)
    first = state.start(method, network.kernels(("mix", "out")), {}, head_tx, jax.random.key(0))
    one = jax.jit(step.train_step(network, method, task.loss, head_tx, settings))
    return task, network, method, first, one


@pytest.mark.thorough  # training/test_step.py
@pytest.mark.parametrize("kind", AXIS)
def test_parts_of_a_batch_add_up_to_it(kind):
    """Rows have answers of several lengths, and two rows only fill the batch up."""
    states = []
    for accumulate in (1, 4):
        settings = step.StepConfig(0.0, accumulate)
        task, network, _, first, one = started(kind, SGD, settings)
        batch = task.batch("train", 0, 2, 12)
        filled = {**batch, "weight": np.where(np.arange(12) < 10, batch["weight"], 0)}
        filled["weight"] = filled["weight"].astype(np.float32)
        states.append(one(one(first, network.params, filled)[0], network.params, filled)[0])
    assert len(set(batch["weight"])) > 1
    close(states[0].theta, states[1].theta)


@pytest.mark.parametrize("kind", AXIS)
def test_the_loop_trains_and_scores_it(kind):
    task, network, method, first, one = started(kind, ADAM, step.StepConfig())
    predict = jax.jit(step.predict(network, method, task.answer))
    records = []
    config = LoopConfig(40, batch_size=8, evaluate_every=20, eval_batch_size=10)
    out = fit(one, predict, first, network.params, task, config, report=records.append)
    assert set(out.scores) == {"accuracy", "exact_match", "label_restricted"}
    assert out.best > task.majority("validation")["accuracy"]
    losses = [record["loss"] for record in records if "loss" in record]
    assert losses[-1] < losses[0]
    # A saved adapter answers as the method does.
    kernels = network.kernels(("mix", "out"))
    saved = adapter_files.exported(method, out.state, kernels, {})
    forward = jax.jit(adapter_files.predict(network, saved.modules, saved.head, task.answer))
    result = task.run(lambda batch: forward(network.params, batch), "validation", 10)
    assert task.score(task.predict(result), task.labels("validation")) == out.scores


@pytest.mark.thorough  # test_loop.py
def test_a_task_of_classes_answers_with_the_logits_themselves():
    from tests.finetune.training import small

    run = small.Run("lora")
    batch = run.task.batch("test", None, 0, 8)
    theta = (run.first.theta, run.first.aux, run.first.head)
    plain = step.predict(run.net, run.method)(*theta, run.net.params, batch)
    asked = step.predict(run.net, run.method, run.task.answer)(*theta, run.net.params, batch)
    assert np.array_equal(plain, asked)
