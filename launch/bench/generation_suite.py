"""A token of a language model with its cache, beside one sweep through the weights that it reads.

The network is a Llama of SmolLM2-135M's widths with random weights, one row of tokens, greedy.
Every parameter is read once for a token, so that the bytes of all of them over the machine's rate
are the least that a token takes: that of XLA's sweep through memory, or of XLA's or BLAS' product
of a vector and a matrix, which writes nothing, whichever is the fastest. Seconds of a token are
those of a long text less those of a short one: the prompt is in neither. What is read for the rate
is as much as those tokens read: of short calls one would find a moment in which nobody else uses
the memory, as a text does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from finetune.models.initialise import initialise
from finetune.models.llama_config import LlamaConfig
from finetune.models.parts.ops import matmul
from finetune.tasks.generation import generate
from launch.bench import lora_step
from launch.bench.rows import record
from launch.bench.timing import in_turn
from launch.shell import waiting

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


class Size(NamedTuple):
    """Layers, tokens of the prompt, and of the long and the short text; and the widths."""

    layers: int
    prompt: int
    long: int
    short: int
    widths: dict[str, Any]


SIZES = {"quick": Size(6, 32, 24, 4, SMOLLM2), "full": Size(30, 128, 72, 8, SMOLLM2)}
REPEATS = 5


def run(size: Size, dtype: str = "float32") -> tuple[list[dict[str, Any]], str]:
    """The row, and a note; weights, cache and activations are of the dtype."""
    config = LlamaConfig(num_labels=0, num_hidden_layers=size.layers, **size.widths)
    graph, params = nnx.split(initialise(config, jax.random.key(0), jnp.dtype(dtype)))
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    ids = np.arange(size.prompt, dtype=np.int32)[None] % config.vocab_size
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    def text(length: int):
        @jax.jit
        def tokens(params, inputs):
            network = nnx.merge(graph, params)
            return generate(
                lambda inputs: network.begin(inputs, length=size.long),
                network.advance,
                inputs,
                length=length,
                stop=(),
                pad=0,
            )

        return lambda: tokens(params, inputs).block_until_ready()

    count = size.long - size.short
    readers, moved = zip(*(_repeated(*one, count * held) for one in _readers()), strict=True)
    calls = [text(size.long), text(size.short), *readers]
    for call in waiting.progress(calls, len(calls), "programs"):
        call()  # compiles
    shown = waiting.progress(range(REPEATS), REPEATS, "repeats")
    # The least, not the median: of a difference every disturbance is a part.
    long, short, *read = map(min, in_turn(calls, shown))
    rate = max(total / seconds for total, seconds in zip(moved, read, strict=True))
    pair = (long - short) / count, held / rate
    case = f"a token, {held / 1e6:.0f} MB of parameters"
    row = record(
        "generation",
        case,
        ("with cache", f"memory alone, {rate / 1e9:.3g} GB/s"),
        pair,
        (None, None),
    )
    return [row], f"{size.layers} layers, one row; jax {jax.__version__}"


def _readers() -> list[tuple[Callable[[], Any], float]]:
    """Calls that do little but read or write memory, and the bytes of each."""
    matrix, vector = np.ones((2**10, 2**15), np.float32), np.ones(2**10, np.float32)
    compiled, placed = jax.jit(matmul), jax.device_put(matrix)
    return [
        lora_step.sweep(),
        (lambda: vector @ matrix, matrix.nbytes),
        (lambda: compiled(vector[None], placed).block_until_ready(), matrix.nbytes),
    ]


def _repeated(call: Callable[[], Any], moved: float, total: float):
    """The call as often as moves `total` bytes, at least once, and what that moves."""
    count = max(1, round(total / moved))

    def calls():
        for _ in range(count):
            call()

    return calls, count * moved
