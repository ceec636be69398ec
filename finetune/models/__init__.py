"""Pretrained networks as flax modules whose linear maps and look-ups an adapter can replace."""

from finetune.models.config import Config
from finetune.models.initialise import abstract, initialise
from finetune.models.interface import Inputs, Output
from finetune.models.loading import load, resolve
from finetune.models.modules import embeddings, head_modules, linears
from finetune.models.parts.ops import PLAIN, Ops, matmul
from finetune.models.registry import ARCHITECTURES, read_config, read_entries

__all__ = [
    "ARCHITECTURES",
    "PLAIN",
    "Config",
    "Inputs",
    "Ops",
    "Output",
    "abstract",
    "embeddings",
    "head_modules",
    "initialise",
    "linears",
    "load",
    "matmul",
    "read_config",
    "read_entries",
    "resolve",
]
