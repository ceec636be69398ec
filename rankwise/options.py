"""Options: the fields of a frozen dataclass of settings, each with its help and its limits.

A launcher makes a flag of every field. Methods may share an option; it then means the same and has
one type and the same limits, though its default may differ.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

Record = TypeVar("Record")
UNIONS = (types.UnionType, typing.Union)  # of types alone; with words among them


def option(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    *,
    lower: float | None = None,
    upper: float | None = None,
    path: bool = False,
    written: str | None = None,
    alias: str | None = None,
) -> Any:
    """A field of settings.

    Args:
      default: None leaves the choice to the method, or to the command; `dataclasses.MISSING` makes
        a field that has to be given.
      text: what it is, in one line of help.
      choices: the values of a text that are allowed.
      lower, upper: the least and the largest number that a command line may give.
      path: a text that names a file or folder; of a tuple, each of its entries.
      written: of a path that is written: "file", which may replace one, but none that is read, or
        "new", of what must not be there.
      alias: another name that a command line may use.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Settings:
      ...     rank: int = option(4, "components per module", lower=1)
      >>> Settings().rank
      4
    """
    limits = {"lower": lower, "upper": upper, "path": path or written is not None}
    limits |= {"written": written, "alias": alias}
    return dataclasses.field(default=default, metadata={"text": text, "choices": choices, **limits})


def option_of(record: type, name: str, **changes: Any) -> Any:
    """The option `name` of `record` as a field of other settings, said once for both.

    Args:
      changes: arguments of `option` that are others here.

    Raises:
      KeyError: `record` has no such field.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Settings:
      ...     rank: int = option(4, "components per module", lower=1)
      >>> @dataclasses.dataclass(frozen=True)
      ... class Flags:
      ...     rank: int = option_of(Settings, "rank", default=8)
      >>> Flags(), dataclasses.fields(Flags)[0].metadata["text"]
      (Flags(rank=8), 'components per module')
    """
    field = {field.name: field for field in dataclasses.fields(record)}[name]
    return option(**{"default": field.default, **field.metadata, **changes})


def filled(record: type[Record], source: Any, /, **others: Any) -> Record:
    """`record` with the attributes of `source` that have the names of its fields, and `others`.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Settings:
      ...     rank: int
      ...     scale: float = 1.0
      >>> filled(Settings, types.SimpleNamespace(rank=3, seed=0), scale=2.0)
      Settings(rank=3, scale=2.0)
    """
    names = [field.name for field in dataclasses.fields(record) if hasattr(source, field.name)]
    return record(**{name: getattr(source, name) for name in names} | others)


class Option(NamedTuple):
    """One option of one or several methods.

    Attributes:
      name: of the field and of the flag.
      kind: int, float, bool, str, or tuple for several numbers.
      choices: allowed texts, () for any.
      limits: the `lower`, `upper` and `path` of `option`.
      texts: help -> the methods that it holds for, with their defaults.
      words: texts that some methods take in place of a number.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    limits: dict[str, Any]
    texts: dict[str, dict[str, Any]]
    words: tuple[str, ...] = ()

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
      TypeError: two methods that have an option of one name with different types, choices or
        limits; an option with an alias, which would be a flag of all methods.
    """
    options: dict[str, Option] = {}
    for method, cls in settings.items():
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            if "text" not in field.metadata:
                continue  # not an option: set by the code that builds the method
            about = field.metadata
            if about["alias"]:
                raise TypeError(f"option {field.name} of {method} has an alias; allowed is none")
            limits = {name: about[name] for name in ("lower", "upper", "path")}
            new = Option(field.name, kind_of(hints[field.name]), about["choices"], limits, {})
            there = options.setdefault(field.name, new)
            words = dict.fromkeys((*there.words, *words_of(hints[field.name])))
            options[field.name] = there._replace(words=tuple(words))
            if there[:4] != new[:4]:
                raise TypeError(f"option {field.name} of {method} is another one elsewhere")
            there.texts.setdefault(about["text"], {})[method] = field.default
    return options


def kind_of(hint: Any) -> type:
    """The type of an annotation; None, words and the types of entries left out.

    Example:
      >>> kind_of(int | None), kind_of(tuple[float, ...]), kind_of(int | typing.Literal["auto"])
      (<class 'int'>, <class 'tuple'>, <class 'int'>)
    """
    (hint,) = [part for part in _parts(hint) if part is not types.NoneType and not _words(part)]
    return typing.get_origin(hint) or hint


def words_of(hint: Any) -> tuple[str, ...]:
    """The texts that an annotation allows in place of a number.

    Example:
      >>> words_of(int | typing.Literal["auto"]), words_of(int | None)
      (('auto',), ())
    """
    return tuple(word for part in _parts(hint) for word in _words(part))


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in UNIONS else (hint,)


def _words(part: Any) -> tuple[str, ...]:
    return typing.get_args(part) if typing.get_origin(part) is typing.Literal else ()


def _by_default(methods: Mapping[str, Any]) -> str:
    """The methods, those with one default together: "4: lora, dora; 8: sora"."""
    groups: dict[str, list[str]] = {}
    for name, value in methods.items():
        said = "" if value is None or value == () else f"{value}: ".lower()
        groups.setdefault(said, []).append(name)
    return "; ".join(said + ", ".join(names) for said, names in groups.items())
