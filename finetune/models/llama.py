"""Llama 2 and 3: pre-norm decoder, rotary positions, shared key heads, gated feed-forward.

A language model (num_labels 0), or a classifier that reads the last token. Mistral, Qwen 2 and
Qwen 3 are the same network with options: a window of keys, biases and norms of queries and keys.

Source: Touvron et al. (2023), Llama 2; Grattafiori et al. (2024), Llama 3; Jiang et al. (2023),
Mistral 7B; Yang et al. (2024, 2025), Qwen2 and Qwen3; transformers.models.llama, mistral, qwen2,
qwen3.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.interface import Output, tokens
from finetune.models.llama_config import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from finetune.models.parts import rotary
from finetune.models.parts.cache import KeyValue, causal, last, roomy, written
from finetune.models.parts.depth import through
from finetune.models.parts.heads import vocabulary
from finetune.models.parts.layers import (
    ACTIVATIONS,
    Embedding,
    Linear,
    RMSNorm,
    fork,
    split_heads,
    wide,
)
from finetune.models.parts.ops import PLAIN, Ops


class Where(NamedTuple):
    """Which tokens are computed, and what they read.

    Attributes:
      positions: (L,) or (B, L).
      mask_BLM: whether a token reads a key.
      keys: positions of the keys, (M,) or (B, M).
      slot: where keys and values go in the cache; None without one.
    """

    positions: jax.Array
    mask_BLM: jax.Array
    keys: jax.Array
    slot: jax.Array | None = None

    def near(self, window: int | None) -> jax.Array:
        """The mask of a layer whose tokens read themselves and the window - 1 before; None: all."""
        if window is None:
            return self.mask_BLM
        return self.mask_BLM & (self.positions[..., None] - self.keys[..., None, :] < window)


class SelfAttention(nnx.Module):
    """W_o softmax(Q K^T / sqrt(K)) V with rotated Q and K."""

    def __init__(self, path: str, config: LlamaConfig, window: int | None, dtype):
        self.config, self.window = config, window
        size, heads, groups = config.hidden_size, config.num_attention_heads, config.groups
        bias = config.query_key_value_bias
        self.q_proj = Linear(f"{path}.q_proj", size, heads * config.size, bias)
        self.k_proj = Linear(f"{path}.k_proj", size, groups * config.size, bias)
        self.v_proj = Linear(f"{path}.v_proj", size, groups * config.size, bias)
        self.o_proj = Linear(f"{path}.o_proj", heads * config.size, size, bias=False)
        if config.query_key_norm:
            self.q_norm = RMSNorm(config.size, config.rms_norm_eps, dtype)
            self.k_norm = RMSNorm(config.size, config.rms_norm_eps, dtype)

    def __call__(
        self, x_BLD: jax.Array, where: Where, ops: Ops, key, past: KeyValue | None
    ) -> tuple[jax.Array, KeyValue]:
        """(B, L, D) -> (B, L, D), and the keys and values, those of the cache included."""
        config, rope = self.config, self.config.rope_parameters
        query_BLHK = split_heads(self.q_proj(x_BLD, ops), config.num_attention_heads)
        key_BLJK = split_heads(self.k_proj(x_BLD, ops), config.groups)
        value_BLJK = split_heads(self.v_proj(x_BLD, ops), config.groups)
        if config.query_key_norm:
            query_BLHK, key_BLJK = self.q_norm(query_BLHK), self.k_norm(key_BLJK)
        query_BLHK = rotary.rotate(query_BLHK, where.positions, rope)
        key_BLJK = rotary.rotate(key_BLJK, where.positions, rope)
        seen = KeyValue.of(key_BLJK, value_BLJK)
        if past is not None:
            seen = written(past, seen, where.slot)
        scores_BHLM = seen.scores(query_BLHK) * config.size**-0.5
        mask_BLM, rate = where.near(self.window), config.attention_dropout
        return self.o_proj(seen.read(scores_BHLM, mask_BLM, rate, key), ops), seen


class FeedForward(nnx.Module):
    """W_down (act(W_gate x) * W_up x)."""

    def __init__(self, path: str, config: LlamaConfig):
        self.activation = config.hidden_act
        size, middle = config.hidden_size, config.intermediate_size
        self.gate_proj = Linear(f"{path}.gate_proj", size, middle, bias=False)
        self.up_proj = Linear(f"{path}.up_proj", size, middle, bias=False)
        self.down_proj = Linear(f"{path}.down_proj", middle, size, bias=False)

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(B, L, D) -> (B, L, D)."""
        gate = ACTIVATIONS[self.activation](self.gate_proj(x, ops))
        return self.down_proj(gate * self.up_proj(x, ops), ops)


class Layer(nnx.Module):
    """x <- x + attention(norm(x)), x <- x + feed-forward(norm(x))."""

    def __init__(self, path: str, config: LlamaConfig, window: int | None, dtype):
        size, eps = config.hidden_size, config.rms_norm_eps
        self.kind = window
        self.self_attn = SelfAttention(f"{path}.self_attn", config, window, dtype)
        self.mlp = FeedForward(f"{path}.mlp", config)
        self.input_layernorm = RMSNorm(size, eps, dtype)
        self.post_attention_layernorm = RMSNorm(size, eps, dtype)

    def __call__(self, x: jax.Array, where: Where, ops: Ops, key, past: KeyValue | None):
        """(B, L, D) -> (B, L, D), and keys and values."""
        change, seen = self.self_attn(self.input_layernorm(x), where, ops, key, past)
        x = x + change
        return x + self.mlp(self.post_attention_layernorm(x), ops), seen


class LlamaModel(nnx.Module):
    """Embeddings, layers and the last norm."""

    def __init__(self, path: str, config: LlamaConfig, dtype):
        self.dtype = jnp.dtype(dtype)
        self.embed_tokens = Embedding(f"{path}.embed_tokens", config.vocab_size, config.hidden_size)
        self.layers = nnx.List(
            Layer(f"{path}.layers.{i}", config, window, dtype)
            for i, window in enumerate(config.windows)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype)

    def __call__(self, ids_BL: jax.Array, where: Where, ops: Ops, key, remat: bool, scan: int):
        """The embeddings, the output of every layer but the last, and the normed last one."""

        def call(layer, x, ops, key):
            return layer(x, where, ops, key, None)[0]

        x = self.embed_tokens(ids_BL, ops).astype(self.dtype)
        keys = fork(key, len(self.layers))
        *states, x = through(self.layers, x, ops, keys, call, remat, scan)
        return *states, self.norm(x)

    def read(self, ids_BL: jax.Array, where: Where, ops: Ops, past=None):
        """The normed last states (B, L, D), and keys and values of every layer."""
        x, seen = self.embed_tokens(ids_BL, ops).astype(self.dtype), []
        for layer, before in zip(self.layers, past or (None,) * len(self.layers), strict=True):
            x, own = layer(x, where, ops, None, before)
            seen.append(own)
        return self.norm(x), tuple(seen)


class LlamaCache(NamedTuple):
    """What `Llama.advance` reads and writes; S slots, the prompt's and those to come.

    Attributes:
      past: per layer, keys and values of all slots.
      mask_BS: the slots that are read.
      position_B: of the next token.
      slot: where it goes.
    """

    past: tuple[KeyValue, ...]
    mask_BS: jax.Array
    position_B: jax.Array
    slot: jax.Array


class Llama(nnx.Module):
    """Logits of the next token, or `score` of the last token where num_labels > 0.

    Source: transformers.models.llama, LlamaForCausalLM and LlamaForSequenceClassification.

    Example:
      >>> sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8}
      >>> config = LlamaConfig(num_labels=0, num_hidden_layers=1, num_attention_heads=2, **sizes)
      >>> ids = jnp.ones((2, 3), jnp.int32)
      >>> inputs = {"input_ids": ids, "attention_mask": ids}
      >>> jax.eval_shape(lambda: Llama(config)(inputs)).logits.shape
      (2, 3, 9)
    """

    Config: ClassVar[type] = LlamaConfig
    kind: ClassVar[str] = "causal"
    base: ClassVar[str] = "model"
    deep: ClassVar[tuple[str, ...]] = ("model.layers",)

    def __init__(self, config: LlamaConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.model = LlamaModel("model", config, dtype)
        heads = () if config.num_labels == 0 else ("score",)
        self.trainable_heads = self.optional = heads
        self.ignored = (r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",)
        self.copies = self.tied = ()
        if config.num_labels:
            self.score = Linear("score", config.hidden_size, config.num_labels, bias=False)
            self.ignored += (r"(model\.)?lm_head\..*",)  # of a bare model under its base's name
        elif config.tie_word_embeddings:
            self.copies = (("lm_head.weight", "model.embed_tokens.weight"),)
            self.tied = ("model.embed_tokens",)
        else:
            self.lm_head = Linear("lm_head", config.hidden_size, config.vocab_size, bias=False)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it) with padding on the right.

        Dropout only where a key is given. Raises nothing: positions have no table that ends.
        """
        inputs = tokens(inputs)
        ids_BL, mask_BL = inputs.input_ids, inputs.attention_mask
        places = jnp.arange(ids_BL.shape[1])
        where = Where(places, causal(mask_BL), places)
        states = self.model(ids_BL, where, ops, key, self.remat, self.scan)
        if not self.config.num_labels:
            return Output(self.logits(states[-1], ops), states)
        x_BD = last(states[-1], mask_BL)
        return Output(self.score(x_BD.astype(wide(x_BD.dtype)), ops), states)

    def logits(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(..., D) -> (..., V), in float32 also where the layers are bfloat16."""
        if self.config.tie_word_embeddings:
            return vocabulary(x, self.model.embed_tokens)
        return self.lm_head(x.astype(wide(x.dtype)), ops)

    def begin(self, inputs, ops: Ops = PLAIN, length: int = 1) -> tuple[LlamaCache, jax.Array]:
        """Reads prompts with padding on the right; room for `length` tokens, which `advance` reads.

        Returns:
          The cache, and logits (B, V) of the first new token.
        """
        inputs = tokens(inputs)
        mask_BL = inputs.attention_mask.astype(bool)
        size = mask_BL.shape[1]
        where = Where(jnp.arange(size), causal(mask_BL), jnp.arange(size))
        x_BLD, seen = self.model.read(inputs.input_ids, where, ops)
        cache = LlamaCache(
            tuple(roomy(own, length) for own in seen),
            jnp.pad(mask_BL, [(0, 0), (0, length)]),
            mask_BL.sum(1, dtype=jnp.int32),
            jnp.asarray(size, jnp.int32),
        )
        return cache, self.logits(last(x_BLD, mask_BL), ops)

    def advance(
        self, cache: LlamaCache, tokens: jax.Array, ops: Ops = PLAIN
    ) -> tuple[LlamaCache, jax.Array]:
        """Reads one token per row, (B,); the cache with it, and logits (B, V) of the next one."""
        mask_BS = cache.mask_BS.at[:, cache.slot].set(True)
        # The slots that are read lie in the order of their tokens.
        keys_BS = jnp.cumsum(mask_BS, axis=1) - 1
        where = Where(cache.position_B[:, None], mask_BS[:, None], keys_BS, cache.slot)
        x_B1D, past = self.model.read(tokens[:, None], where, ops, cache.past)
        cache = LlamaCache(past, mask_BS, cache.position_B + 1, cache.slot + 1)
        return cache, self.logits(x_B1D[:, 0], ops)


class Mistral(Llama):
    """A Llama whose tokens read a window of keys.

    Source: Jiang et al. (2023), Mistral 7B; transformers.models.mistral.
    """

    Config: ClassVar[type] = MistralConfig


class Qwen2(Llama):
    """Qwen 2 and 2.5: a Llama with biases of queries, keys and values; windows in its last layers.

    Source: Yang et al. (2024), Qwen2; transformers.models.qwen2.
    """

    Config: ClassVar[type] = Qwen2Config


class Qwen3(Llama):
    """A Llama with norms of the queries and keys of each head.

    Source: Yang et al. (2025), Qwen3; transformers.models.qwen3.
    """

    Config: ClassVar[type] = Qwen3Config
