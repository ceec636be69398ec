"""A token of a language model with its cache, beside one sweep through the weights that it reads.

The network is a Llama of SmolLM2-135M's widths with random weights, one row of tokens, greedy.
Every parameter is read once for a token, so that the bytes of all of them over the machine's rate
are the least that a token takes: that of XLA's sweep through memory, or of BLAS' product of a
matrix and a vector, which writes nothing, whichever is faster. Seconds of a token are those of a
long text less those of a short one: the prompt is in neither.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from finetune.models.initialise import initialise
from finetune.models.llama_config import LlamaConfig
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

    sweep, moved = lora_step.sweep()
    matrix, vector = np.ones((2**14, 2**10), np.float32), np.ones(2**10, np.float32)
    calls = [text(size.long), text(size.short), sweep, lambda: matrix @ vector]
    for call in waiting.progress(calls, len(calls), "programs"):
        call()  # compiles
    shown = waiting.progress(range(REPEATS), REPEATS, "repeats")
    # The least, not the median: of a difference every disturbance is a part.
    long, short, swept, read = map(min, in_turn(calls, shown))
    rate = max(moved / swept, matrix.nbytes / read)
    pair = (long - short) / (size.long - size.short), held / rate
    case = f"a token, {held / 1e6:.0f} MB of parameters"
    row = record(
        "generation",
        case,
        ("with cache", f"memory alone, {rate / 1e9:.3g} GB/s"),
        pair,
        (None, None),
    )
    return [row], f"{size.layers} layers, one row; jax {jax.__version__}"
