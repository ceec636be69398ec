"""Text from a language model, one token after the other: greedy, or drawn from the nucleus.

Source of the nucleus: Holtzman et al. (2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rankwise import checks


def generate(
    begin: Callable[[Any], tuple[Any, jax.Array]],
    advance: Callable[[Any, jax.Array], tuple[Any, jax.Array]],
    inputs: Any,
    *,
    length: int,
    stop: tuple[int, ...],
    pad: int,
    ended: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    temperature: float = 0.0,
    top_p: float = 1.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """New tokens (B, length) int32 of B prompts; ends early where all rows have stopped.

    Row b's draw at position t is a function of (key, b, t) and its own logits: other rows do not
    change it. To be compiled as a whole; all but `inputs` and `key` are static.

    Args:
      begin: inputs -> (cache, logits (B, V)) of the first token.
      advance: (cache, tokens (B,)) -> (cache, logits (B, V)) of the next one.
      length: tokens per row; the cache of `begin` must have room for them.
      stop: tokens that end a row; the one that does is kept.
      pad: fills a row behind it.
      ended: (tokens (B, length), how many are written) -> (B,) bool, what else ends a row.
      temperature: 0 takes the largest logit (the first of several), else draws from
        softmax(logits / temperature).
      top_p: of these, the fewest likeliest tokens that have at least this probability together.
      key: needed to draw.

    Raises:
      ValueError: length below 1, a negative temperature, top_p outside (0, 1], no key to draw with.

    Example:
      >>> logits = jnp.array([[0.0, 2.0, 1.0]])
      >>> step = lambda cache, tokens=None: (cache + 1, jnp.roll(logits, cache, 1))
      >>> generate(lambda x: step(0), step, None, length=4, stop=(0,), pad=9).tolist()
      [[1, 2, 0, 9]]
    """
    length = checks.integer("length", length, 1)
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}; allowed are numbers >= 0")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}; allowed are numbers in (0, 1]")
    if temperature > 0 and key is None:
        raise ValueError(f"key is None; a draw at temperature {temperature} needs one")

    def choose(logits: jax.Array, done: jax.Array, place: Any) -> tuple[jax.Array, jax.Array]:
        if temperature == 0:
            chosen = jnp.argmax(logits, axis=-1)
        else:
            chosen = _drawn(logits / temperature, top_p, key, place)
        chosen = jnp.where(done, pad, chosen.astype(jnp.int32))
        return chosen, done | jnp.isin(chosen, jnp.asarray(stop, jnp.int32))

    def written(tokens, place, chosen, done):
        tokens = tokens.at[:, place].set(chosen)
        return tokens, done if ended is None else done | ended(tokens, place + 1)

    def body(state):
        place, cache, tokens, done = state
        before = jax.lax.dynamic_index_in_dim(tokens, place - 1, axis=1, keepdims=False)
        cache, logits = advance(cache, before)
        chosen, done = choose(logits, done, place)
        return place + 1, cache, *written(tokens, place, chosen, done)

    cache, logits = begin(inputs)
    rows = logits.shape[0]
    first, done = choose(logits, jnp.zeros(rows, bool), 0)
    tokens = jnp.full((rows, length), pad, jnp.int32)
    state = (jnp.asarray(1, jnp.int32), cache, *written(tokens, 0, first, done))
    return jax.lax.while_loop(lambda s: (s[0] < length) & ~s[3].all(), body, state)[2]


def nucleus(logits: jax.Array, top_p: float) -> jax.Array:
    """Logits (..., V) with -inf outside the fewest likeliest tokens of probability >= top_p.

    Of equally likely tokens the first are kept.

    Example:
      >>> nucleus(jnp.log(jnp.array([0.5, 0.3, 0.2])), 0.6).tolist()[2]
      -inf
    """
    order = jnp.argsort(logits, axis=-1, descending=True, stable=True)
    ordered = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
    # What the likelier tokens have before it: nothing for the first, which always stays.
    before = jnp.cumsum(ordered, axis=-1) - ordered
    kept = jnp.put_along_axis(
        jnp.zeros(logits.shape, bool), order, before < top_p, axis=-1, inplace=False
    )
    return jnp.where(kept, logits, -jnp.inf)


def _drawn(logits: jax.Array, top_p: float, key: jax.Array, place: Any) -> jax.Array:
    if top_p < 1:
        logits = nucleus(logits, top_p)

    def draw(row, logits):
        return jax.random.categorical(
            jax.random.fold_in(jax.random.fold_in(key, row), place), logits
        )

    return jax.vmap(draw)(jnp.arange(logits.shape[0]), logits)
