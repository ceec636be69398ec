"""Moments and maps of tiny networks: against products with the recorded inputs themselves."""

import jax
import numpy as np
import pytest

from finetune.compression import maps, moments, quality
from finetune.compression.texts import Blocks
from finetune.models import PLAIN, Ops
from finetune.models.bert import BertConfig
from finetune.weights.naming import named_leaves, rebuild
from tests.finetune.models.tiny import BERT, random_model

MIDDLE = "bert.encoder.layer.1.attention.self"
PATHS = (
    "bert.encoder.layer.0.intermediate.dense",
    f"{MIDDLE}.query",
    f"{MIDDLE}.key",
    "bert.encoder.layer.1.output.dense",
)


@pytest.fixture(scope="module")
def network():
    model = random_model(BertConfig(num_labels=2, **BERT))
    params = {name: leaf.value for name, leaf in named_leaves(model).items()}

    def forward(params, batch, ops):
        return rebuild(model, params)(batch, ops)

    return forward, params


@pytest.fixture(scope="module")
def blocks():
    rng = np.random.default_rng(0)
    mask = (np.arange(8) < rng.integers(3, 9, size=(12, 1))).astype(np.int32)
    return Blocks((rng.integers(1, 50, size=(12, 8)) * mask).astype(np.int32), mask)


def recorded(forward, params, blocks, path):
    """The inputs of a map, row by row."""
    rows = []

    def linear(name, x, kernel):
        if name == path:
            rows.append(np.asarray(x, np.float64))
        return PLAIN.linear(name, x, kernel)

    with jax.disable_jit():
        forward(
            params,
            {"input_ids": blocks.ids, "attention_mask": blocks.mask},
            Ops(linear, PLAIN.embed),
        )
    return rows[0][blocks.mask > 0]


@pytest.mark.thorough  # padding of the networks: tests/finetune/models
def test_moments_leave_padding_out(network, blocks):
    collected = moments.collect(*network, blocks.batches(4), PATHS)
    assert collected.tokens == blocks.tokens and not collected.cross
    assert set(collected.grams) == set(PATHS)
    assert collected.grams[f"{MIDDLE}.query"] is collected.grams[f"{MIDDLE}.key"]
    for path in PATHS[::3]:
        x = recorded(*network, blocks, path)
        np.testing.assert_allclose(collected.grams[path], x.T @ x / len(x), atol=1e-4)


def test_shrinkage_by_itself_is_that_of_every_map(network, blocks, monkeypatch):
    """As many tokens per input as the narrower maps have are few for the wider ones."""
    collected = moments.collect(*network, blocks.batches(4), PATHS)
    widths = {path: len(collected.grams[path]) for path in PATHS}
    assert len(set(widths.values())) == 2
    monkeypatch.setattr(maps, "FEW", collected.tokens / min(widths.values()))
    for path, width in widths.items():
        amount = 0.01 if width == min(widths.values()) else 0.1
        expected = maps.metric(path, collected, shrink=amount)
        np.testing.assert_array_equal(maps.metric(path, collected, shrink=None), expected)


def test_sequential_reads_what_the_maps_before_left(network, blocks):
    forward, params = network
    ranks = dict.fromkeys(PATHS, 3)
    chosen = dict(maps.in_turn(forward, params, blocks.batches(4), ranks))
    assert list(chosen) == list(PATHS)
    last = PATHS[-1]
    before = maps.replaced(params, {p: f for p, f in chosen.items() if p != last})
    x = recorded(forward, before, blocks, last)
    kernel = np.asarray(params[f"{last}.weight"], np.float64)
    least = np.sum(np.linalg.svd(x @ kernel, compute_uv=False)[3:] ** 2)
    a, b = chosen[last]
    assert np.sum((x @ (kernel - a @ b)) ** 2) == pytest.approx(least, rel=1e-4)


def test_anchored_is_nearer_to_the_outputs_as_they_were(network, blocks):
    forward, params = network
    ranks, last = dict.fromkeys(PATHS, 3), PATHS[-1]
    kernel = np.asarray(params[f"{last}.weight"], np.float64)
    wanted = recorded(forward, params, blocks, last) @ kernel
    distance = {}
    for anchored in (False, True):
        answers = maps.in_turn(forward, params, blocks.batches(4), ranks, anchored=anchored)
        chosen = dict(answers)
        others = maps.replaced(params, {p: f for p, f in chosen.items() if p != last})
        x = recorded(forward, others, blocks, last)
        distance[anchored] = np.sum((wanted - x @ chosen[last].a @ chosen[last].b) ** 2)
    assert distance[True] < 0.9 * distance[False]


def test_all_ranks_leave_the_network_as_it_is(network, blocks):
    forward, params = network
    collected = moments.collect(forward, params, blocks.batches(4), PATHS)
    whole = {path: one.factors(99) for path, one in maps.once(params, collected)}
    new = maps.replaced(params, whole)
    before, after = (quality.vectors(forward, p, blocks, 4) for p in (params, new))
    np.testing.assert_allclose(after, before, atol=1e-4)
    for path, factors in whole.items():
        kernel, gram = np.asarray(params[f"{path}.weight"]), collected.grams[path]
        assert maps.relative_error(kernel, factors, gram) < 1e-9


def test_a_network_with_nan_is_refused_by_its_module(network, blocks):
    forward, params = network
    broken = {**params, f"{MIDDLE}.value.bias": params[f"{MIDDLE}.value.bias"] * np.nan}
    with pytest.raises(ValueError, match=r"inputs of bert\.encoder\.layer\.1\.output\.dense"):
        moments.collect(forward, broken, blocks.batches(4), PATHS)


def test_no_batch(network):
    with pytest.raises(ValueError, match="empty"):
        moments.collect(*network, [], PATHS)
