"""Tasks: data as numpy columns, batches that depend on (seed, step) only, losses and scores."""

from finetune.tasks.registry import TaskConfig, load, names, needs_tokenizer
from finetune.tasks.task import Split, Task
from finetune.tasks.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "Split",
    "Task",
    "TaskConfig",
    "Tokenizer",
    "load",
    "load_tokenizer",
    "names",
    "needs_tokenizer",
]
