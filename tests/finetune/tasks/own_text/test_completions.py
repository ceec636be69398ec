"""Stop words: a completion ends before one, and takes no step more."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.models.parts.ops import PLAIN
from finetune.tasks.own_text.completions import Completions
from finetune.tasks.tokens.vocabulary import Vocabulary

PIECES = ["", "ab", "c", "d#", "## ", "e"]  # the first ends a text
# What the network writes in each row, whatever it reads.
SCRIPT = np.array([[1, 2, 3, 4, 5, 5, 5, 5], [5, 3, 4, 5, 5, 5, 5, 5], [2, 0, 5, 5, 5, 5, 5, 5]])


def written(words):
    """Records of the rows, and how many tokens the network has read."""
    vocabulary = Vocabulary(
        list, False, lambda ids: "".join(PIECES[i] for i in ids), before=(), end_id=0
    )
    reading = Completions(vocabulary, SCRIPT.shape[1], words=words)
    read = []

    def logits(place):
        return jax.nn.one_hot(jnp.asarray(SCRIPT)[:, place], len(PIECES))

    def advance(params, place, tokens, ops):
        jax.debug.callback(lambda: read.append(1))
        return place + 1, logits(place)

    network = types.SimpleNamespace(
        begin=lambda params, inputs, ops, length: (jnp.int32(1), logits(0)), advance=advance
    )
    batch = {"input_ids": np.ones((3, 2), np.int32), "attention_mask": np.ones((3, 2), np.int32)}
    batch["row"] = np.arange(3)
    answer = jax.jit(lambda batch: reading.answer(None, network, {}, PLAIN, batch))
    answers = np.asarray(answer(batch))
    jax.effects_barrier()
    return [row[0] for row in reading.predict(answers)], len(read)


@pytest.mark.parametrize(
    ("words", "texts", "tokens", "reads"),
    [
        ((), ["abcd### eeee", "ed### eeeee", "c"], [8, 8, 1], 7),
        # Across tokens, and in the middle of the last of them.
        (("###",), ["abcd", "ed", "c"], [4, 3, 1], 3),
        (("d##", "b"), ["a", "e", "c"], [1, 3, 1], 2),
        # One row goes on to its end.
        (("ab",), ["", "ed### eeeee", "c"], [1, 8, 1], 7),
    ],
)
def test_a_row_that_has_a_stop_word_takes_no_step(words, texts, tokens, reads):
    records, read = written(words)
    assert [record["completion"] for record in records] == texts
    assert [record["tokens"] for record in records] == tokens
    assert read == reads
    ended = [count < 8 for count in tokens]
    assert [record["finish_reason"] == "stop" for record in records] == ended
