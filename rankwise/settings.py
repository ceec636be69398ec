"""Settings with some other values: fields of a frozen dataclass by name, as JSON has them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from rankwise.checks import shown

Setting = TypeVar("Setting")
NUMBERS_AND_TEXTS = (bool, int, float, str)


def changed(setting: Setting, changes: Mapping[str, Any]) -> Setting:
    """`setting` with these fields in place of its own.

    Args:
      setting: a frozen dataclass.
      changes: field name -> value, in the form in which `rankwise.files.to_json` writes it: a
        number, a text, null where the field may be None, a list of these for a tuple, and an
        object of changes for a field that is a setting itself.

    Raises:
      ValueError: `setting` has no fields, or not this one; a value of another type; what the
        setting itself refuses.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Study:
      ...     steps: int = 400
      ...     rates: tuple[float, ...] = (1e-3,)
      >>> changed(Study(), {"steps": 1600})
      Study(steps=1600, rates=(0.001,))
      >>> changed(Study(), {"rates": "large"})
      Traceback (most recent call last):
      ValueError: rates is 'large'; allowed is a list of float
    """
    if not dataclasses.is_dataclass(setting):
        raise ValueError(f"{shown(setting)} has no fields to change; its size is fixed")
    hints = typing.get_type_hints(type(setting))
    values = {}
    for name, value in changes.items():
        if name not in hints:
            raise ValueError(f"there is no field {name!r}; allowed are {', '.join(hints)}")
        own = getattr(setting, name)
        if dataclasses.is_dataclass(own) and isinstance(value, Mapping):
            values[name] = changed(own, value)
        else:
            values[name] = _read(name, value, hints[name])
    return dataclasses.replace(setting, **values)


def _read(name: str, value: Any, hint: Any) -> Any:
    """The value of JSON as the annotation has it."""
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    parts = typing.get_args(hint) if union else (hint,)
    for part in parts:
        entry = _entry(part)
        if part is types.NoneType and value is None:
            return None
        if part in NUMBERS_AND_TEXTS and _is(value, part):
            return part(value)
        if entry and isinstance(value, list) and all(_is(one, entry) for one in value):
            return tuple(map(entry, value))
    raise ValueError(f"{name} is {shown(value)}; allowed is {' or '.join(map(_said, parts))}")


def _entry(part: Any) -> type | None:
    """X of tuple[X, ...] of numbers or texts."""
    entries = typing.get_args(part) if typing.get_origin(part) is tuple else ()
    return entries[0] if entries[1:] == (...,) and entries[0] in NUMBERS_AND_TEXTS else None


def _is(value: Any, kind: type) -> bool:
    """Whether a value of JSON is of that kind; integers are numbers, booleans and NaN are not."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is kind


def _said(part: Any) -> str:
    if part is types.NoneType:
        return "null"
    if part in NUMBERS_AND_TEXTS:
        return part.__name__
    if entry := _entry(part):
        return f"a list of {entry.__name__}"
    return "an object of its fields" if dataclasses.is_dataclass(part) else "the value that it has"
