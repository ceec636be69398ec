"""Small models, their inputs, and where the reference numbers lie."""

import dataclasses
import functools
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from finetune.models import PLAIN, abstract
from finetune.models.bert import BertConfig
from finetune.models.deberta import DebertaV2Config
from finetune.models.distilbert import DistilBertConfig
from finetune.models.llama_config import LlamaConfig
from finetune.models.mlp import MLPConfig
from finetune.models.t5_config import T5Config
from finetune.tasks.generation import generate
from finetune.weights.naming import named_leaves, rebuild

DATA = pathlib.Path(__file__).parents[1] / "data"
GOLDEN = ("bert", "distilbert", "deberta_v2")

BERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "max_position_embeddings": 20,
    "type_vocab_size": 2,
}
DISTILBERT = {
    "vocab_size": 50,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "activation": "gelu",
    "max_position_embeddings": 20,
}
DEBERTA = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "hidden_act": "gelu",
    "max_position_embeddings": 32,
    "position_buckets": 4,
}
LLAMA = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
T5 = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
    "decoder_start_token_id": 0,
}
ROBERTA = {**BERT, "type_vocab_size": 1, "pad_token_id": 0, "max_position_embeddings": 32}
MODERNBERT = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "local_attention": 6,
    **{f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")},
}
MLP = {"input_size": 12, "hidden_size": 8}

CONFIGS = {
    "bert": BertConfig(num_labels=3, **BERT),
    "distilbert": DistilBertConfig(num_labels=3, **DISTILBERT),
    "deberta-v2": DebertaV2Config(num_labels=3, **DEBERTA),
}
LAYERS = {"bert": "num_hidden_layers", "distilbert": "n_layers", "deberta-v2": "num_hidden_layers"}
LLAMA_CONFIG = LlamaConfig(num_labels=0, **LLAMA)
T5_CONFIG = T5Config(num_labels=0, **T5)
MLP_CONFIG = MLPConfig(num_labels=3, **MLP)


def batch(seed=0, size=3, length=9, vocabulary=50):
    """Tokens with right padding; the first sequence is full."""
    rng = np.random.default_rng(seed)
    lengths = np.array([length, *rng.integers(2, length, size - 1)])
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    ids = rng.integers(1, vocabulary, (size, length)).astype(np.int32) * mask
    types = rng.integers(0, 2, (size, length)).astype(np.int32) * mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


# Gains of norms, by the names of all architectures.
NORMS = re.compile(r"(LayerNorm|layer_?norm|[._]norm)\.weight$")


def pairs(seed=0, size=3, length=9, more=7, vocabulary=50):
    """The same with the shifted labels of an encoder-decoder."""
    rng = np.random.default_rng(seed + 1)
    words = rng.integers(1, vocabulary, (size, more)).astype(np.int32)
    words[:, 0] = 0
    inputs = batch(seed, size, length, vocabulary)
    return {"decoder_input_ids": words, **{n: inputs[n] for n in ("input_ids", "attention_mask")}}


def random_model(config, dtype="float32", seed=0):
    """Every parameter is random, biases too, and large enough for attention to matter."""
    model = abstract(config, dtype)
    rng = np.random.default_rng(seed)
    values = {
        name: 0.3 * rng.normal(size=leaf.shape) + bool(NORMS.search(name))
        for name, leaf in named_leaves(model).items()
    }
    return rebuild(model, {name: jnp.asarray(v, jnp.float32) for name, v in values.items()})


@functools.cache
def model_of(kind, dtype="float32", pooling="cls"):
    """One layer is enough for most promises; tests share these models and their programs."""
    changes = {LAYERS[kind]: 1, "pooling": pooling}
    return random_model(dataclasses.replace(CONFIGS[kind], **changes), dtype)


# Tiny programs: what counts is the time to compile them.
FAST = {"xla_backend_optimization_level": 0}


@functools.partial(jax.jit, static_argnums=(0, 1), compiler_options=FAST)
def call(graphdef, ops, params, inputs, key):
    return nnx.merge(graphdef, params)(inputs, ops=ops, key=key)


def run(model, inputs, ops=PLAIN, key=None):
    graphdef, params = nnx.split(model)
    return call(graphdef, ops, params, inputs, key)


@functools.partial(jax.jit, static_argnums=(0, 3), compiler_options=FAST)
def _begin(graphdef, params, inputs, length):
    return nnx.merge(graphdef, params).begin(inputs, PLAIN, length)


@functools.partial(jax.jit, static_argnums=0, compiler_options=FAST)
def _advance(graphdef, params, cache, tokens):
    return nnx.merge(graphdef, params).advance(cache, tokens)


def steps(model, length):
    """`begin` and `advance` of a model, compiled."""
    graphdef, params = nnx.split(model)
    begin = functools.partial(_begin, graphdef, params)
    return lambda inputs: begin(inputs, length), functools.partial(_advance, graphdef, params)


@functools.partial(jax.jit, static_argnums=(0, 3, 4), compiler_options=FAST)
def _words(graphdef, params, inputs, length, stop):
    return generate(
        lambda x: nnx.merge(graphdef, params).begin(x, PLAIN, length),
        lambda cache, tokens: nnx.merge(graphdef, params).advance(cache, tokens),
        inputs,
        length=length,
        stop=stop,
        pad=0,
    )


def greedy(model, inputs, length, stop=()):
    """The likeliest next words, (B, length)."""
    return np.asarray(_words(*nnx.split(model), inputs, length, stop))


def tokens_only(values, reference, mask):
    """Largest difference where the mask is one."""
    return np.abs(np.asarray(values, np.float64) - reference)[np.asarray(mask, bool)].max()


def peft_folder(name):
    """A folder of the PEFT reference set, beside the tests or under $RANKWISE_SHARED."""
    shared = os.environ.get("RANKWISE_SHARED")
    places = [DATA / "peft_adapters" / name]
    if shared:
        places.append(pathlib.Path(shared) / "data" / "golden" / "peft_adapters" / name)
    for place in places:
        if place.is_dir():
            return place
    return pytest.skip("PEFT reference set absent; RANKWISE_SHARED names the folder above data/")
