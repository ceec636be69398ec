"""Tasks: data as numpy columns, batches that depend on (seed, step) only, losses and scores."""

from finetune.tasks.language import LanguageTask
from finetune.tasks.registry import TaskConfig, for_language, load, names, needs_tokenizer
from finetune.tasks.splits import Split
from finetune.tasks.squad.spans import SpanTask
from finetune.tasks.task import Task
from finetune.tasks.tokens.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "LanguageTask",
    "SpanTask",
    "Split",
    "Task",
    "TaskConfig",
    "Tokenizer",
    "for_language",
    "load",
    "load_tokenizer",
    "names",
    "needs_tokenizer",
]
