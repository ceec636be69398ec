"""The names of tensors in an adapter's file, and the layout behind them.

PEFT keeps torch's layout: every matrix here is the transpose of ours. With A (in, r), B (r, out):

    base_model.model.{path}.lora_A.weight      A^T (r, in)      lora_B.weight     B^T (out, r)
    base_model.model.{path}.lora_embedding_A   A^T (r, rows)    lora_embedding_B  B^T (features, r)
    base_model.model.{path}.lora_A, lora_E, lora_B   AdaLoRA: A^T, d (r, 1), B^T
    base_model.model.{path}.lora_magnitude_vector    DoRA, beside A and B: m (out,)
    base_model.model.{path}.base_layer.weight        W^T itself, of maps to and from the vocabulary
    base_model.model.{path}.base_layer.bias          the bias of an adapted module, trained beside
    base_model.model.{name}                    a parameter of a head, under torch's name

Source: PEFT 0.21.2, utils/save_and_load.py and tuners/adalora/layer.py. The adapter's own name
("default") is not in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PREFIX = "base_model.model."
LINEAR = {"a": "lora_A.weight", "b": "lora_B.weight"}
EMBEDDING = {"a": "lora_embedding_A", "b": "lora_embedding_B"}
ADALORA = {"a": "lora_A", "b": "lora_B", "d": "lora_E"}
MAGNITUDE = "lora_magnitude_vector"
BASE = "base_layer.weight"
"""An adapted module's own parameter, which PEFT saves of maps to and from the vocabulary."""

BIAS = "base_layer.bias"
"""Likewise its bias, where biases were trained beside."""

KINDS = {"LORA": (LINEAR, EMBEDDING), "ADALORA": (ADALORA,)}
"""peft_type -> the sets of tensors that a module may have."""


class Place(NamedTuple):
    """What a tensor is.

    Attributes:
      path: of the module, or the torch name of a head's parameter.
      leaf: "a", "b", "d", "magnitude" or "base"; None for a head's parameter.
      table: the tensors that belong together, None for a head's parameter, a magnitude and a base,
        which linear maps and tables have under one name.
    """

    path: str
    leaf: str | None = None
    table: Mapping[str, str] | None = None


def key(path: str, suffix: str) -> str:
    """The name of a module's tensor.

    Example:
      >>> key("fc1", LINEAR["a"])
      'base_model.model.fc1.lora_A.weight'
    """
    return f"{PREFIX}{path}.{suffix}"


def place(name: str, peft_type: str, dora: bool = False) -> Place | None:
    """What the tensor `name` is; None for one that no adapter of this type has.

    Args:
      dora: whether modules have magnitudes.

    Example:
      >>> place("base_model.model.classifier.bias", "LORA").path
      'classifier.bias'
      >>> place("base_model.model.fc1.base_layer.bias", "LORA").path
      'fc1.bias'
      >>> place("base_model.model.lm_head.base_layer.weight", "LORA").leaf
      'base'
      >>> place("base_model.model.fc1.lora_magnitude_vector", "LORA") is None
      True
    """
    if not name.startswith(PREFIX):
        return None
    name = name.removeprefix(PREFIX)
    for table in KINDS[peft_type]:
        for leaf, suffix in table.items():
            if name.endswith(f".{suffix}"):
                return Place(name.removesuffix(f".{suffix}"), leaf, table)
    if name.endswith(f".{BASE}"):
        return Place(name.removesuffix(f".{BASE}"), "base")
    if name.endswith(f".{BIAS}"):
        return Place(name.removesuffix(BIAS) + "bias")
    if dora and name.endswith(f".{MAGNITUDE}"):
        return Place(name.removesuffix(f".{MAGNITUDE}"), "magnitude")
    return None if ".lora_" in name else Place(name)
