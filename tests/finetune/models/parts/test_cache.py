"""The cache of a decoder: what a new token costs in it."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.cache import KeyValue, roomy, written
from finetune.models.parts.layers import attend, grouped_scores

ROWS, HEADS, SIZE, ROOM = 2, 3, 4, 13
G = np.random.default_rng(0)


def drawn(length):
    shape = (ROWS, length, HEADS, SIZE)
    return KeyValue.of(*(jnp.asarray(G.normal(size=shape), jnp.float32) for _ in range(2)))


def test_what_is_read_is_attention():
    """For every head of a group and row by row, with dropout of the same draws."""
    keys, values, query = (
        jnp.asarray(G.normal(size=(ROWS, length, heads, SIZE)), jnp.float32)
        for length, heads in ((5, HEADS), (5, HEADS), (2, 2 * HEADS))
    )
    seen, key = KeyValue.of(keys, values), jax.random.key(0)
    scores = grouped_scores(query, keys)
    np.testing.assert_allclose(seen.scores(query), scores, atol=1e-5)
    for mask in (G.random((ROWS, 5)) < 0.7, G.random((ROWS, 2, 5)) < 0.7):
        expected = attend(scores, values, mask, 0.3, key)
        np.testing.assert_allclose(seen.read(scores, mask, 0.3, key), expected, atol=1e-5)


def test_a_token_is_written_behind_the_prompt():
    prompt, token = drawn(5), drawn(1)
    cache = written(roomy(prompt, ROOM - 5), token, jnp.asarray(5))
    for whole, first, new in zip(cache, prompt, token, strict=True):
        expected = np.concatenate([first, new, np.zeros((ROWS * HEADS, ROOM - 6, SIZE))], 1)
        np.testing.assert_array_equal(whole, expected)


def test_no_token_copies_the_cache():
    """In a loop of tokens the cache is written in place and read as it lies."""

    @jax.jit
    def loop(cache, query, token):
        def body(slot, state):
            cache, query = state
            cache = written(cache, token, slot)
            y = cache.read(cache.scores(query), jnp.ones((ROWS, ROOM), bool), 0.0, None)
            return cache, y.reshape(query.shape)

        return jax.lax.fori_loop(0, ROOM, body, (cache, query))

    query = jnp.ones((ROWS, 1, HEADS, SIZE))
    program = loop.lower(roomy(drawn(1), ROOM - 1), query, drawn(1)).compile().as_text()
    inner = program[: program.index("\nENTRY ")]  # the loop; it may be handed a copy
    places = f"{ROOM},{HEADS},{SIZE}", f"{HEADS},{ROOM},{SIZE}", f"{ROWS * HEADS},{ROOM},{SIZE}"
    shape = rf"\[(\d,)?({'|'.join(places)})\]\S*"
    assert re.search(rf"{shape} dynamic-update-slice\(", inner)
    assert not re.search(rf"{shape} (copy|transpose)\(", inner)
