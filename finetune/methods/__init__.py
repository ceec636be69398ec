"""Fine-tuning methods, each a `Method`: pure functions that one training loop serves."""

from finetune.adapters.method import (
    Change,
    Dense,
    Factors,
    Gradients,
    Info,
    Method,
    Objective,
    Refused,
    Scaled,
)
from finetune.methods.registry import NAMES, OPTIONS, MethodConfig, make

__all__ = [
    "NAMES",
    "OPTIONS",
    "Change",
    "Dense",
    "Factors",
    "Gradients",
    "Info",
    "Method",
    "MethodConfig",
    "Objective",
    "Refused",
    "Scaled",
    "make",
]
