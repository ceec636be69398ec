"""Architectures by the model_type of config.json.

An architecture is an nnx module class with these attributes:
  Config: its configuration class, with `positions`, the number of tokens that it has places for
    (None for no limit), where lengths are to be checked;
  kind: "encoder", "causal" or "encoder_decoder"; language models of the last two have `begin` and
    `advance`, see `finetune.models.llama`;
  base: the module that a bare encoder's checkpoint leaves out of its names ('bert', or '');
  trainable_heads: module paths that a classifier trains beside its adapters, PEFT's
    modules_to_save;
  optional: module paths that a pretrained checkpoint may lack, filled at random then;
  ignored: patterns of checkpoint names that belong to no forward pass of ours;
  copies: where it has them, pairs of a checkpoint's name and the parameter that it may repeat;
  remat: where it has transformer layers, false; see `finetune.models.parts.depth.recomputed`;
  deep, scan: where it has them, paths of the lists of these layers, and 0; see `through` there;
  tied: where it has them, paths of tables that transformers uses under other names too.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from flax import nnx

from finetune.models.bert import Bert
from finetune.models.config import Config, parse
from finetune.models.deberta import DebertaV2
from finetune.models.dense import Dense
from finetune.models.distilbert import DistilBert
from finetune.models.gguf_config import config_json
from finetune.models.llama import Llama, Mistral, Qwen2, Qwen3
from finetune.models.mlp import MLP
from finetune.models.modernbert import ModernBert
from finetune.models.resnet import ResNet
from finetune.models.roberta import Roberta
from finetune.models.t5 import T5
from finetune.models.vgg import VGG
from finetune.models.vit import ViT
from finetune.weights import low_rank
from finetune.weights.files import read_json
from finetune.weights.gguf_files import is_gguf

ARCHITECTURES: dict[str, type[nnx.Module]] = {
    kind.Config.model_type: kind
    for kind in (
        *(Bert, Roberta, DistilBert, DebertaV2, ModernBert),
        *(T5, Llama, Mistral, Qwen2, Qwen3),
        *(MLP, Dense, VGG, ResNet, ViT),
    )
}


def architecture(config: Config) -> type[nnx.Module]:
    """The module class of a configuration."""
    return ARCHITECTURES[config.model_type]


def read_entries(place: str | os.PathLike) -> dict[str, Any]:
    """The entries of the config.json of a model folder, or those that a GGUF file stands for.

    Raises:
      ValueError: no config.json, one that is not an object in JSON, or a GGUF file that is refused.
    """
    if is_gguf(place):
        return config_json(place)
    return low_rank.plain(read_json(pathlib.Path(place) / "config.json"))


def read_config(folder: str | os.PathLike, *, labels: int, pooling: str | None = None) -> Config:
    """The configuration of a model folder.

    Args:
      folder: holds config.json; or a GGUF file.
      labels: columns of the logits, whatever the checkpoint was trained for; 0 for a language
        model, where the architecture is one.
      pooling: "cls", "mean" or "none", see `Config`; None keeps what the folder says, which is
        "cls" unless it was written by `finetune.weights.saving`.

    Raises:
      ValueError: no config.json, an architecture or an entry that is not known; one line that
        names the file.

    Example:
      >>> read_config("models/bert-base-uncased", labels=2).hidden_size  # doctest: +SKIP
      768
    """
    path = folder if is_gguf(folder) else pathlib.Path(folder) / "config.json"
    raw = read_entries(folder)
    kind = raw.get("model_type")
    if kind not in ARCHITECTURES:
        raise ValueError(
            f"{path}: model_type is {kind!r}; allowed are {', '.join(map(repr, ARCHITECTURES))}"
        )
    chosen: dict[str, Any] = {"num_labels": labels}
    if pooling is not None:
        chosen["pooling"] = pooling
    try:
        return parse(ARCHITECTURES[kind].Config, raw, **chosen)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
