"""RoBERTa: a BERT whose positions begin behind that of padding, with a head of two layers.

Source: Liu et al. (2019), RoBERTa; transformers.models.roberta.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.bert import BertConfig, BertModel
from finetune.models.config import COUNT, entry
from finetune.models.interface import Output, tokens
from finetune.models.parts.blocks import stack
from finetune.models.parts.heads import pool
from finetune.models.parts.layers import Linear, dropout, fork
from finetune.models.parts.ops import PLAIN, Ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    """The entries of a RoBERTa's config.json: a BERT's, and the id of padding."""

    pad_token_id: int = entry(COUNT, 1)

    model_type: ClassVar[str] = "roberta"
    architecture: ClassVar[str] = "RobertaForSequenceClassification"
    pooled: ClassVar[bool] = False

    @property
    def padding(self) -> int:
        """The position of padding."""
        return self.pad_token_id

    def contradictions(self) -> list[str]:
        """Heads that cannot be dealt out, a table of positions without one for a token."""
        problems = super().contradictions()
        if self.positions < 1:
            problems.append(
                f"max_position_embeddings is {self.max_position_embeddings}; "
                f"allowed are integers > pad_token_id + 1, {self.pad_token_id + 1}"
            )
        return problems


class ClassificationHead(nnx.Module):
    """W_2 tanh(W_1 x + b_1) + b_2."""

    def __init__(self, path: str, config: RobertaConfig):
        self.rate = config.head_dropout
        self.dense = Linear(f"{path}.dense", config.hidden_size, config.hidden_size)
        self.out_proj = Linear(f"{path}.out_proj", config.hidden_size, config.num_labels)

    def __call__(self, x_BD: jax.Array, ops: Ops, key) -> jax.Array:
        """(B, D) -> (B, labels)."""
        first, second = fork(key, 2)
        x_BD = jnp.tanh(self.dense(dropout(x_BD, self.rate, first), ops))
        return self.out_proj(dropout(x_BD, self.rate, second), ops)


class Roberta(nnx.Module):
    """The classifier of two layers on the first token, or with pooling="mean" on the tokens' mean.

    With pooling="none" it is qa_outputs of every token.

    Source: transformers.models.roberta, RobertaForSequenceClassification and
    RobertaForQuestionAnswering.

    Example:
      >>> sizes = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "type_vocab_size": 1}
      >>> sizes |= {"num_attention_heads": 2, "num_hidden_layers": 1, "hidden_act": "gelu"}
      >>> config = RobertaConfig(num_labels=3, max_position_embeddings=6, **sizes)
      >>> ids = jnp.full((2, 4), 5)
      >>> inputs = {"input_ids": ids, "attention_mask": ids}
      >>> jax.eval_shape(lambda: Roberta(config)(inputs)).logits.shape
      (2, 3)
    """

    Config: ClassVar[type] = RobertaConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = "roberta"
    deep: ClassVar[tuple[str, ...]] = ("roberta.encoder.layer",)
    trainable_heads: ClassVar[tuple[str, ...]] = ("classifier",)
    optional: ClassVar[tuple[str, ...]] = ("classifier", "qa_outputs")
    ignored: ClassVar[tuple[str, ...]] = (
        r"roberta\.embeddings\.position_ids",
        r"roberta\.pooler\..*",
        r"(roberta\.)?(lm_head|qa_outputs)\..*",
    )

    def __init__(self, config: RobertaConfig, dtype=jnp.float32):
        self.config = config
        self.remat, self.scan = False, 0
        self.roberta = BertModel("roberta", config, dtype)
        if config.of_tokens:
            self.qa_outputs = Linear("qa_outputs", config.hidden_size, config.num_labels)
            self.trainable_heads = ("qa_outputs",)
        else:
            self.classifier = ClassificationHead("classifier", config)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of `Inputs` (or a mapping like it); dropout only where a key is given.

        Raises:
          ValueError: sequences longer than max_position_embeddings - pad_token_id - 1.
        """
        inputs = tokens(inputs)
        first, middle, last = fork(key, 3)
        x_BLD = self.roberta.embeddings(inputs, ops, first)
        mask_BL = inputs.attention_mask
        states = stack(
            self.roberta.encoder.layer, x_BLD, mask_BL, ops, middle, self.remat, self.scan
        )
        pooled_BD = pool(states[-1], mask_BL, self.config.pooling)
        if self.config.of_tokens:
            return Output(self.qa_outputs(pooled_BD, ops), states)
        return Output(self.classifier(pooled_BD, ops, last), states)
