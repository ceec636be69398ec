"""Which output of a network is which class: the names of a checkpoint, and those of the data.

A checkpoint's config.json numbers its classes (id2label, label2id), and its classifier means that
numbering; data have names or numbers of their own. The checkpoint's numbering wins.

Source: transformers, PretrainedConfig (LABEL_0, LABEL_1, ... stand for names that nobody gave).
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from finetune.tasks.task import Task
from finetune.weights.files import read_json

Numbers = Callable[[str], int | None]


def of_config(raw: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The class names of a config.json by number; None where it has none but placeholders.

    Raises:
      ValueError: id2label and label2id that contradict each other.

    Example:
      >>> of_config({"label2id": {"pos": 0, "neg": 1}})
      ('pos', 'neg')
      >>> of_config({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) is None
      True
    """
    by_number = _real(raw.get("id2label") or {})
    turned = {number: name for name, number in (raw.get("label2id") or {}).items()}
    by_name = _real(turned)
    if by_number and by_name and by_number != by_name:
        raise ValueError(
            f"config.json has the classes {', '.join(by_number)} in id2label and "
            f"{', '.join(by_name)} in label2id; allowed is one numbering, correct one of them"
        )
    return by_number or by_name


def of_folder(folder: str | pathlib.Path) -> tuple[str, ...] | None:
    """`of_config` of a folder's config.json; None without that file."""
    path = pathlib.Path(folder) / "config.json"
    return of_config(read_json(path)) if path.is_file() else None


def numbers(names: Sequence[str]) -> Numbers:
    """The function from a label of the data to the number of its class, None for another class.

    A label is a class's name; or that in other case, with other separators; or, where no name is a
    number itself, the number of the class.

    Example:
      >>> number = numbers(("ENTAILMENT", "NOT-ENTAILMENT"))
      >>> number("not_entailment"), number("1"), number("2")
      (1, 1, None)
    """
    exact = {name: number for number, name in enumerate(names)}
    folded = {_folded(name): number for name, number in exact.items()}
    folded = folded if len(folded) == len(exact) else {}
    digits = {str(number): number for number in range(len(names))}
    digits = {} if any(name.isdigit() for name in names) else digits
    return lambda label: exact.get(label, folded.get(_folded(label), digits.get(label)))


def renumbered(task: Task, names: Sequence[str]) -> Task | None:
    """The task with its classes numbered as in `names`; None if these are not its classes.

    All classes of the task must be among `names`; where the task's are bare numbers 0, 1, ... and
    the names are words, there must be as many. The task's own spelling stays.

    Example:
      >>> from finetune.tasks import load
      >>> task = load("digits")
      >>> turned = renumbered(task, task.label_names[::-1])
      >>> turned.label_names[0], int(task.labels("test")[0] + turned.labels("test")[0])
      ('9', 9)
    """
    number = numbers(names)
    place = [number(name) for name in task.label_names]
    counted = any(n.isdigit() for n in task.label_names) and not any(n.isdigit() for n in names)
    if None in place or len(set(place)) < len(place) or (counted and len(place) < len(names)):
        return None
    spelt = list(names)
    if not counted:
        for old, new in zip(task.label_names, place, strict=True):
            spelt[new] = old
    table = np.array(place, np.int32)
    splits = {
        name: split
        if split.labels is None
        else dataclasses.replace(split, labels=table[split.labels])
        for name, split in task.splits.items()
    }
    positive = task.positive
    if positive is not None:
        positive = last(spelt) if counted else place[positive]
    return dataclasses.replace(task, splits=splits, label_names=tuple(spelt), positive=positive)


def last(names: Sequence[str]) -> int:
    """The number of the class whose name comes last: numbers by value, words by the alphabet.

    Example:
      >>> last(("pos", "neg")), last(("9", "10"))
      (0, 1)
    """
    whole = all(re.fullmatch(r"-?\d+", name) for name in names)
    return max(range(len(names)), key=lambda i: int(names[i]) if whole else names[i])


def _real(by_number: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Names in the order of their numbers, if these are 0, 1, ... and not all are placeholders."""
    try:
        named = {int(number): str(name) for number, name in by_number.items()}
    except (TypeError, ValueError):
        return None
    names = tuple(named.get(number, "") for number in range(len(named)))
    unusable = "" in names or len(set(names)) < len(names)
    if unusable or all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return None
    return names


def _folded(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())
