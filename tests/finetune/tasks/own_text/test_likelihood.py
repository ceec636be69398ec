"""Loss per token and perplexity against a sum by hand; the guess without context."""

import jax
import numpy as np
import pytest

from finetune.models.parts.ops import PLAIN
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text.likelihood import Likelihood
from finetune.tasks.splits import Split
from finetune.tasks.tokens.ragged import Ragged
from tests.finetune.tasks.talk import talker
from tests.finetune.tasks.test_language import SOURCES, TARGETS


@pytest.mark.parametrize("kind", ["causal", "encoder_decoder"])
def test_the_loss_is_that_of_single_tokens(kind):
    network = talker(kind, 10, start_id=2)
    target = Ragged.from_rows(TARGETS)
    rows = {"train": Split({"source": Ragged.from_rows(SOURCES), "target": target}, target)}
    task = LanguageTask("made", rows, kind, Likelihood(), 0, (4, 8), (3,), start_id=2)
    scored = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    parts = (scored(batch) for batch in task.in_order("train", 3))
    result = task.predict(task.gathered("train", parts))
    begin = jax.jit(lambda inputs: network.begin(network.params, inputs, PLAIN, 3))
    advance = jax.jit(lambda cache, token: network.advance(network.params, cache, token, PLAIN))
    losses, exact = [], []
    for source, answer in zip(SOURCES, TARGETS, strict=True):
        inputs = {"input_ids": np.array([source]), "attention_mask": np.ones((1, len(source)))}
        cache, logits = begin(inputs)
        likeliest = []
        for token in answer:
            losses.append(-float(jax.nn.log_softmax(logits)[0, token]))
            likeliest.append(int(np.asarray(logits).argmax()))
            cache, logits = advance(cache, np.array([token]))
        exact.append(likeliest == answer)
    scores = task.score(result, task.labels("train"))
    assert scores["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
    assert scores["exact_match"] == np.mean(exact)
    records = task.reading.records(result, target)
    assert [row["tokens"] for row in records] == list(map(len, TARGETS))
    assert [row["exact_match"] for row in records] == exact


def test_the_guess_without_context_is_the_entropy():
    result = Likelihood().majority(Ragged.from_rows([[3, 1], [3, 1], [4, 1], [5, 1]]))
    assert result["loss"] == pytest.approx(0.5 * np.log(2) + 0.25 * np.log(4) + 0.25 * np.log(8))
    assert result["exact_match"] == 0.5
    assert set(Likelihood(matched=False).majority(Ragged.from_rows([[3, 1]]))) == {
        "loss",
        "perplexity",
    }
