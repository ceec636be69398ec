"""Tasks by name, and the one record of options that a launcher fills from its flags."""

from __future__ import annotations

import dataclasses
from typing import Any

from deflation import checks
from finetune.tasks import glue, images, tables, text
from finetune.tasks.task import Task
from finetune.tasks.tokenizer import load_tokenizer

TABLE = "table"


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What is to be loaded; plain values, so that it can be written as JSON beside the results.

    Attributes:
      name: one of `names()`.
      data_dir: folder (table: or file) with the data; None for the Hub, and for digits.
      max_length: tokens per row (text).
      lengths: what batches of text are padded to, see `text.buckets`.
      window: batches of text sorted by length together, see `batches.shuffled`.
      test: read GLUE's unlabelled test splits too.
      classes: "all", "first" or "second" half (images).
      texts: one or two column names (table).
      label: column name (table).
      regression: the label is a number (table).
      heldout: share of the training rows held out for evaluation (table).
    """

    name: str
    data_dir: str | None = None
    max_length: int = 128
    lengths: tuple[int, ...] = text.LENGTHS
    window: int = 1
    test: bool = False
    classes: str = "all"
    texts: tuple[str, ...] = ()
    label: str = "label"
    regression: bool = False
    heldout: float = 0.0

    def __post_init__(self):
        # Lists, when the configuration comes back from JSON.
        object.__setattr__(self, "lengths", tuple(self.lengths))
        object.__setattr__(self, "texts", tuple(self.texts))


def names() -> tuple[str, ...]:
    """All task names: the digits, MNIST and CIFAR, GLUE's eight, and "table"."""
    return (*images.NAMES, *glue.GLUE, TABLE)


def needs_tokenizer(name: str) -> bool:
    """True for tasks of text, which are encoded with the model's tokenizer.

    Raises:
      ValueError: an unknown task.
    """
    checks.choice("task", name, names())
    return name not in images.NAMES


def load(config: TaskConfig | str, tokenizer: Any = None) -> Task:
    """The task that a configuration, or a name with all defaults, describes.

    Args:
      config: a TaskConfig or a name.
      tokenizer: for tasks of text, what `load_tokenizer` takes: a folder, a name on the Hub.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: an unknown task, an option that belongs to tasks of another kind, no tokenizer
        for a task of text, or data that do not fit the task.

    Example:
      >>> load("digits").num_labels
      10
    """
    config = TaskConfig(config) if isinstance(config, str) else config
    name = config.name
    checks.choice("task", name, names())
    _only_its_own(config)
    if not needs_tokenizer(name):
        return images.load(name, config.data_dir, config.classes)
    if tokenizer is None:
        raise ValueError(f"tokenizer is None; allowed for task {name!r} is that of the model")
    padding = {
        "max_length": config.max_length,
        "lengths": config.lengths,
        "window": config.window,
    }
    tokenizer = load_tokenizer(tokenizer)
    if name != TABLE:
        return glue.load(name, tokenizer, config.data_dir, test=config.test, **padding)
    if config.data_dir is None:
        raise ValueError("data_dir is None; allowed for task 'table' is a file or a folder")
    return tables.load(
        config.data_dir,
        tokenizer,
        config.texts,
        config.label,
        config.regression,
        config.heldout,
        **padding,
    )


def _only_its_own(config: TaskConfig) -> None:
    """An option without effect is a mistake that should not look like success."""
    picture = config.name in images.NAMES
    kinds = {
        "data_dir": config.name != "digits",
        "classes": picture,
        **dict.fromkeys(("max_length", "lengths", "window"), not picture),
        "test": config.name in glue.GLUE,
        **dict.fromkeys(("texts", "label", "regression", "heldout"), config.name == TABLE),
    }
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not kinds.get(field.name, True) and value != field.default:
            raise ValueError(
                f"{field.name} is {value!r}; allowed with task {config.name!r} is {field.default!r}"
            )
