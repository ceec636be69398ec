"""T5: an encoder, a decoder that reads its states, relative positions, one table of embeddings.

A language model (num_labels 0), or a classifier that reads the decoder's state of eos.

Source: Raffel et al. (2020), T5; Shazeer (2020) for version 1.1; transformers.models.t5.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.interface import Output, tokens
from finetune.models.parts.cache import KeyValue
from finetune.models.parts.heads import vocabulary
from finetune.models.parts.layers import Embedding, Linear, dropout, fork, wide
from finetune.models.parts.ops import PLAIN, Ops
from finetune.models.t5_config import T5Config
from finetune.models.t5_layers import Stack


class ClassificationHead(nnx.Module):
    """W_2 tanh(W_1 x + b_1) + b_2."""

    def __init__(self, path: str, config: T5Config):
        self.rate = config.classifier_dropout
        self.dense = Linear(f"{path}.dense", config.d_model, config.d_model)
        self.out_proj = Linear(f"{path}.out_proj", config.d_model, config.num_labels)

    def __call__(self, x_BD: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, D) -> (B, labels)."""
        inner, outer = fork(key, 2)
        y = jnp.tanh(self.dense(dropout(x_BD, self.rate, inner), ops))
        return self.out_proj(dropout(y, self.rate, outer), ops)


class T5Model(nnx.Module):
    """The table, the encoder and the decoder, where a classifier keeps them."""

    def __init__(self, path: str, config: T5Config, dtype):
        add_stacks(self, path, config, dtype)


def add_stacks(module: nnx.Module, path: str, config: T5Config, dtype) -> None:
    """Gives a module the attributes `shared`, `encoder` and `decoder`."""
    module.shared = Embedding(f"{path}shared", config.vocab_size, config.d_model)
    module.encoder = Stack(f"{path}encoder", config, False, dtype)
    module.decoder = Stack(f"{path}decoder", config, True, dtype)


class T5Cache(NamedTuple):
    """What `T5.advance` reads and writes.

    Attributes:
      past: per block of the decoder, its own keys and values, in slots.
      memory: those of the encoder's states.
      mask_BM: of the encoder's input.
      slot: where the next token goes.
    """

    past: tuple[KeyValue, ...]
    memory: tuple[KeyValue, ...]
    mask_BM: jax.Array
    slot: jax.Array


class T5(nnx.Module):
    """Logits of the labels, or a classifier where num_labels > 0.

    Source: transformers.models.t5, T5ForConditionalGeneration and T5ForSequenceClassification.

    Example:
      >>> sizes = {"vocab_size": 9, "d_model": 8, "d_kv": 4, "d_ff": 8}
      >>> config = T5Config(num_labels=0, num_layers=1, num_heads=2, **sizes)
      >>> ids, more = jnp.ones((2, 3), jnp.int32), jnp.zeros((2, 5), jnp.int32)
      >>> inputs = {"input_ids": ids, "attention_mask": ids, "decoder_input_ids": more}
      >>> jax.eval_shape(lambda: T5(config)(inputs)).logits.shape
      (2, 5, 9)
    """

    Config: ClassVar[type] = T5Config
    kind: ClassVar[str] = "encoder_decoder"

    def __init__(self, config: T5Config, dtype=jnp.float32):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.remat, self.scan = False, 0
        # A language model has its parts at the root, a classifier under a name.
        self.base, start = ("transformer", "transformer.") if config.num_labels else ("", "")
        self.deep = f"{start}encoder.block", f"{start}decoder.block"
        heads = ("classification_head",) if config.num_labels else ()
        self.trainable_heads = self.optional = heads
        copies = [f"{start}{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")]
        if config.num_labels:
            self.transformer = T5Model(start, config, dtype)
            self.classification_head = ClassificationHead("classification_head", config)
        else:
            add_stacks(self, start, config, dtype)
            if config.tie_word_embeddings:
                copies.append("lm_head.weight")
            else:
                self.lm_head = Linear("lm_head", config.d_model, config.vocab_size, bias=False)
        self.copies = tuple((name, f"{start}shared.weight") for name in copies)
        self.tied = (f"{start}shared",)
        # The first published files have a bias table that nothing reads.
        unread = r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight"
        self.ignored = (rf"(transformer\.)?{unread}",)
        self.ignored += (r"(transformer\.)?lm_head\.weight",) if config.num_labels else ()

    @property
    def stacks(self) -> nnx.Module:
        """What has `shared`, `encoder` and `decoder`."""
        return self.transformer if self.config.num_labels else self

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        A classifier reads the state of the last eos; a row without one has none, and its logits
        are NaN.

        Raises:
          ValueError: a language model without decoder_input_ids.
        """
        inputs, config = tokens(inputs), self.config
        first, middle, last = fork(key, 3)
        words = inputs.decoder_input_ids
        if config.num_labels:
            words = (
                jnp.roll(inputs.input_ids, 1, axis=1).at[:, 0].set(config.decoder_start_token_id)
            )
        elif words is None:
            raise ValueError("decoder_input_ids is None; allowed are the labels, shifted right")
        encoded = self.encode(inputs, ops, first)
        states = self.stacks.decoder(
            self.embedded(words, ops),
            jnp.ones(words.shape, bool),  # padding comes last, and no token before it reads it
            encoded[-1],
            inputs.attention_mask,
            ops,
            middle,
            self.remat,
            self.scan,
        )
        if not config.num_labels:
            return Output(self.logits(states[-1], ops), states, encoded)
        x_BD = _of_last(states[-1], inputs.input_ids == config.eos_token_id)
        x_BD = x_BD.astype(wide(x_BD.dtype))
        return Output(self.classification_head(x_BD, ops, last), states, encoded)

    def embedded(self, ids: jax.Array, ops: Ops) -> jax.Array:
        """(B, L) -> (B, L, D)."""
        return self.stacks.shared(ids, ops).astype(self.dtype)

    def encode(self, inputs, ops: Ops, key=None) -> tuple[jax.Array, ...]:
        """The encoder's states."""
        x, mask_BM = self.embedded(inputs.input_ids, ops), inputs.attention_mask
        how = self.remat, self.scan
        return self.stacks.encoder(x, mask_BM, None, None, ops, key, *how)

    def logits(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(..., D) -> (..., V), in float32 also where the layers are bfloat16."""
        x = x.astype(wide(x.dtype))
        if self.config.tie_word_embeddings:
            return vocabulary(x * self.config.d_model**-0.5, self.shared)
        return self.lm_head(x, ops)

    def begin(self, inputs, ops: Ops = PLAIN, length: int = 1) -> tuple[T5Cache, jax.Array]:
        """Reads the encoder's input; room for `length` tokens, which `advance` reads.

        Returns:
          The cache, and logits (B, V) of the first token behind decoder_start_token_id.
        """
        inputs, config = tokens(inputs), self.config
        encoded = self.encode(inputs, ops)[-1]
        shape = (len(encoded) * config.num_heads, length + 1, config.d_kv)
        past = KeyValue(*(jnp.zeros(shape, self.dtype) for _ in range(2)))
        blocks = self.decoder.block
        cache = T5Cache(
            (past,) * len(blocks),
            tuple(block.remember(encoded, ops) for block in blocks),
            inputs.attention_mask,
            jnp.zeros((), jnp.int32),
        )
        start = jnp.full(len(encoded), config.decoder_start_token_id, jnp.int32)
        return self.advance(cache, start, ops)

    def advance(
        self, cache: T5Cache, tokens: jax.Array, ops: Ops = PLAIN
    ) -> tuple[T5Cache, jax.Array]:
        """Reads one token per row, (B,); the cache with it, and logits (B, V) of the next one."""
        x_B1D = self.embedded(tokens[:, None], ops)
        x_B1D, past = self.decoder.step(
            x_B1D, cache.past, cache.memory, cache.mask_BM, cache.slot, ops
        )
        cache = cache._replace(past=past, slot=cache.slot + 1)
        return cache, self.logits(x_B1D[:, 0], ops)


def _of_last(x_BLD: jax.Array, there_BL: jax.Array) -> jax.Array:
    """The vector at the last place that is there; NaN where none is."""
    place_B = jnp.max(jnp.where(there_BL, jnp.arange(there_BL.shape[1]), 0), axis=1)
    last_BD = jnp.take_along_axis(x_BLD, place_B[:, None, None], axis=1)[:, 0]
    return jnp.where(there_BL.any(1)[:, None], last_BD, jnp.nan)
