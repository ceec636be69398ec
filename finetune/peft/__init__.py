"""Adapters in the format of PEFT, written and read without torch; checked against PEFT 0.21.2."""

from finetune.peft.card import Card
from finetune.peft.config import AdapterConfig, read_config
from finetune.peft.export import export
from finetune.peft.merging import export_merged, merged
from finetune.peft.reading import Adapter, load
from finetune.peft.truncation import Truncated, truncated

__all__ = [
    "Adapter",
    "AdapterConfig",
    "Card",
    "Truncated",
    "export",
    "export_merged",
    "load",
    "merged",
    "read_config",
    "truncated",
]
