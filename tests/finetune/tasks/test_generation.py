"""Generation: where rows end, and what a draw depends on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.tasks.generation import generate, nucleus

V = 7
TABLE = jnp.asarray(np.random.default_rng(0).normal(size=(V, V)), jnp.float32)


def begin(tokens):
    """A chain: the logits are a row of a table."""
    return jnp.zeros((), jnp.int32), TABLE[tokens]


def advance(cache, tokens):
    return cache + 1, TABLE[tokens]


def chain(first, length, stop=()):
    words = []
    while len(words) < length and not (words and words[-1] in stop):
        first = int(TABLE[first].argmax())
        words.append(first)
    return words


def test_greedy_ends_at_the_stop_token():
    starts = jnp.arange(V)
    stop = (int(TABLE[0].argmax()),)
    words = np.asarray(generate(begin, advance, starts, length=6, stop=stop, pad=9))
    assert words.shape == (V, 6) and words.dtype == np.int32
    for row, result in enumerate(words):
        expected = chain(row, 6, stop)
        assert result.tolist() == expected + [9] * (6 - len(expected))
    assert words[0].tolist() == [*stop, 9, 9, 9, 9, 9]


def test_no_step_is_taken_for_nothing():
    """The last token is not read, and nothing is when every row has stopped."""

    def counted(stop, length=5, ended=None):
        def step(cache, tokens):
            jax.debug.callback(lambda: taken.append(1))
            return advance(cache, tokens)

        taken = []
        how = {"length": length, "stop": stop, "pad": 0, "ended": ended}
        jax.block_until_ready(generate(begin, step, jnp.arange(V), **how))
        jax.effects_barrier()
        return len(taken)

    assert counted(stop=()) == 4 and counted(stop=tuple(range(V))) == 0
    assert counted(stop=(), length=1) == 0
    assert counted(stop=(), ended=lambda tokens, count: jnp.full(V, count == 3)) == 2


def test_a_draw_depends_on_key_row_and_position():
    draw = {"length": 8, "stop": (), "pad": 0, "temperature": 1.5}
    starts = jnp.array([1, 2, 3, 4])
    again = jax.jit(lambda x, key: generate(begin, advance, x, key=key, **draw))
    words = again(starts, jax.random.key(1))
    others = again(starts.at[1:].set(0), jax.random.key(1))
    np.testing.assert_array_equal(others[0], words[0])
    np.testing.assert_array_equal(again(starts[:2], jax.random.key(1)), words[:2])
    assert (again(starts, jax.random.key(2)) != words).any()
    # Two rows with the same start are two draws.
    same = again(jnp.full(4, 3), jax.random.key(1))
    assert len({tuple(row) for row in same.tolist()}) > 1


def test_draws_have_the_probabilities_of_the_softmax():
    rows = 4000
    words = generate(
        begin,
        advance,
        jnp.zeros(rows, jnp.int32),
        length=1,
        stop=(),
        pad=0,
        temperature=2.0,
        key=jax.random.key(0),
    )
    expected = jax.nn.softmax(TABLE[0] / 2)
    share = np.bincount(np.asarray(words)[:, 0], minlength=V) / rows
    np.testing.assert_allclose(share, expected, atol=4 * 0.5 / np.sqrt(rows))


def test_a_narrow_nucleus_is_greedy():
    draw = {"length": 6, "stop": (), "pad": 0}
    narrow = {"temperature": 1.0, "top_p": 1e-6, "key": jax.random.key(0)}
    written = jax.jit(lambda x: [generate(begin, advance, x, **draw, **o) for o in ({}, narrow)])
    np.testing.assert_array_equal(*written(jnp.arange(V)))


def test_nucleus():
    logits = jnp.log(jnp.array([[0.1, 0.4, 0.3, 0.2], [0.25, 0.25, 0.25, 0.25]]))
    kept = np.isfinite(nucleus(logits, 0.65))
    assert kept.tolist() == [[False, True, True, False], [True, True, True, False]]
    assert np.isfinite(nucleus(logits, 1.0)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 0}, "length"),
        ({"temperature": -1.0}, "temperature is -1.0; allowed are numbers >= 0"),
        ({"top_p": 0.0}, r"top_p is 0.0; allowed are numbers in \(0, 1\]"),
        ({"temperature": 1.0}, "key is None; a draw at temperature 1.0 needs one"),
    ],
)
def test_refused(change, words):
    with pytest.raises(ValueError, match=words):
        generate(begin, advance, jnp.arange(2), **{"length": 2, "stop": (), "pad": 0, **change})
