"""Options: the fields of a frozen dataclass of settings, each with its help and its limits.

A launcher makes a flag of every field. Methods may share an option; it then means the same and has
one type, though its default may differ.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple


def option(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    *,
    lower: float | None = None,
    upper: float | None = None,
    path: bool = False,
    alias: str | None = None,
) -> Any:
    """A field of settings.

    Args:
      default: None leaves the choice to the method, or to the command.
      text: what it is, in one line of help.
      choices: the values of a text that are allowed.
      lower, upper: the least and the largest number that a command line may give.
      path: a text that names a file or folder; of a tuple, each of its entries.
      alias: another name that a command line may use.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Settings:
      ...     rank: int = option(4, "components per module", lower=1)
      >>> Settings().rank
      4
    """
    limits = {"lower": lower, "upper": upper, "path": path, "alias": alias}
    return dataclasses.field(default=default, metadata={"text": text, "choices": choices, **limits})


class Option(NamedTuple):
    """One option of one or several methods.

    Attributes:
      name: of the field and of the flag.
      kind: int, float, bool, str, or tuple for several numbers.
      choices: allowed texts, () for any.
      texts: help -> the methods that it holds for, with their defaults.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    texts: dict[str, dict[str, Any]]

    @property
    def methods(self) -> frozenset[str]:
        """The methods that have it."""
        return frozenset(name for methods in self.texts.values() for name in methods)

    @property
    def text(self) -> str:
        """The help of the flag."""
        return "; ".join(f"{text} [{_by_default(m)}]" for text, m in self.texts.items())


def collected(settings: Mapping[str, type]) -> dict[str, Option]:
    """Option name -> Option, over methods by name.

    Raises:
      TypeError: two methods that have an option of one name with different types or choices.
    """
    options: dict[str, Option] = {}
    for method, cls in settings.items():
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if "text" not in field.metadata:
                continue  # not an option: set by the code that builds the method
            kind, choices = kind_of(hints[field.name]), field.metadata["choices"]
            new = Option(field.name, kind, choices, {})
            there = options.setdefault(field.name, new)
            if there[:3] != new[:3]:
                raise TypeError(f"option {field.name} of {method} is another one elsewhere")
            there.texts.setdefault(field.metadata["text"], {})[method] = field.default
    return options


def kind_of(hint: Any) -> type:
    """The type of an annotation, None and the types of entries left out.

    Example:
      >>> kind_of(int | None), kind_of(tuple[float, ...])
      (<class 'int'>, <class 'tuple'>)
    """
    if isinstance(hint, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not types.NoneType]
    return typing.get_origin(hint) or hint


def _by_default(methods: Mapping[str, Any]) -> str:
    """The methods, those with one default together: "4: lora, dora; 8: sora"."""
    groups: dict[str, list[str]] = {}
    for name, value in methods.items():
        said = "" if value is None or value == () else f"{value}: ".lower()
        groups.setdefault(said, []).append(name)
    return "; ".join(said + ", ".join(names) for said, names in groups.items())
