"""What is computed of parts of the tokens is that of all; no array of all logits is made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts import token_parts
from finetune.models.parts.ops import PLAIN
from finetune.models.parts.token_parts import IGNORED, by_parts
from finetune.tasks.choices import Choices
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text.likelihood import Likelihood
from finetune.training.step import loss_of
from tests.finetune.tasks.talk import talker

ROWS, LENGTH, VOCABULARY = 3, 7, 11
TWO_TOKENS = 2 * 4 * ROWS * VOCABULARY


def batch(kind: str):
    """Answers of two tokens behind prompts of two or three."""
    g = np.random.default_rng(0)
    ids = g.integers(1, VOCABULARY, (ROWS, LENGTH), np.int32)
    labels = np.full((ROWS, LENGTH), IGNORED, np.int32)
    for row, first in enumerate((2, 1, 2) if kind == "causal" else (0, 0, 0)):
        labels[row, first : first + 2] = g.integers(1, VOCABULARY, 2)
    weight = np.array([2, 2, 0], np.float32)
    result = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}
    more = {"decoder_input_ids": ids} if kind == "encoder_decoder" else {}
    return jax.tree.map(jnp.asarray, {**result, **more, "weight": weight})


def loss(logits, labels, weight):
    return LanguageTask.loss(None, logits, labels, weight)


@pytest.mark.parametrize("kind", ["causal", "encoder_decoder"])
def test_losses_and_gradients(kind, monkeypatch):
    network, rows = talker(kind, VOCABULARY), batch(kind)

    def value(params):
        return loss_of(network, loss, params, rows, PLAIN, None)

    whole, gradient = jax.jit(jax.value_and_grad(value))(network.params)
    direct = loss(
        network.forward(network.params, rows, PLAIN, None), rows["labels"], rows["weight"]
    )
    np.testing.assert_array_equal(whole, direct)
    monkeypatch.setattr(token_parts, "LIMIT", TWO_TOKENS)
    parts, of_parts = jax.jit(jax.value_and_grad(lambda params: value(params)))(network.params)
    np.testing.assert_allclose(parts, whole, rtol=1e-6)
    for name, leaf in gradient.items():
        np.testing.assert_allclose(of_parts[name], leaf, atol=1e-6, err_msg=name)


class Asked:
    """What the answers read of a task."""

    pad_id = 0

    def __init__(self, kind):
        self.kind = kind


@pytest.mark.parametrize(
    "reading",
    [
        Likelihood(),
        Choices(("a", "b"), ((3, 5), (3, 6)), ()),
        Choices(("a", "b", "c"), ((3, 5), (4, 6), (3, 6)), ()),
    ],
    ids=["likelihood", "one place", "whole answers"],
)
@pytest.mark.parametrize("kind", ["causal", "encoder_decoder"])
def test_answers(reading, kind, monkeypatch):
    network, rows = talker(kind, VOCABULARY), batch(kind)

    def answer():
        compiled = jax.jit(lambda p: reading.answer(Asked(kind), network, p, PLAIN, rows))
        return compiled(network.params)

    whole = answer()
    monkeypatch.setattr(token_parts, "LIMIT", TWO_TOKENS)
    np.testing.assert_allclose(answer(), whole, rtol=1e-5, atol=1e-6)


def test_no_array_has_the_logits_of_all_tokens(monkeypatch):
    rows, length, width, vocabulary = 4, 64, 8, 1000
    monkeypatch.setattr(token_parts, "LIMIT", 4 * rows * vocabulary * 4)
    x, kernel = jnp.ones((rows, length, width)), jnp.ones((width, vocabulary))
    labels = {"own": jnp.ones((rows, length), jnp.int32)}

    def total(x, kernel):
        def part(logits, labels):
            return loss(logits, labels["own"], jnp.ones(rows))

        return jnp.sum(by_parts(lambda x: x @ kernel, part, x, labels))

    compiled = jax.jit(jax.grad(total, argnums=(0, 1))).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * rows * length * vocabulary / 2
