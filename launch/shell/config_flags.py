"""The flags of a command, made of the fields of its configuration.

A configuration is a frozen dataclass whose fields are `rankwise.options.option`s: each is a flag of
its name. The classes that it inherits from are its parts; a class may set GROUP, the title of its
flags on the page of --help. A field with the metadata "options" (name -> Option, as
`rankwise.options.collected` makes them) holds several flags, a mapping of those that are given.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

from launch.shell import help_page, path_flags
from rankwise.options import kind_of

LARGEST_SEED = 2**32 - 1
DEFINE = {
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}
NUMBERS = {int: flags.IntegerParser, float: flags.FloatParser}


class _Number(flags.ArgumentParser):
    """A number, or one of a few words that some methods take in its place."""

    def __init__(self, number: flags.ArgumentParser, words: tuple[str, ...]):
        self._number, self._words = number, words
        self.syntactic_help = " or ".join((number.syntactic_help, *words))

    def parse(self, argument: Any) -> Any:
        if argument in self._words:
            return argument
        try:
            value = self._number.parse(argument)
        except (TypeError, ValueError):
            value = math.nan
        if value != value:  # NaN is within all limits, as no comparison with it holds
            raise ValueError(f"allowed is {self.syntactic_help}")
        return value

    def flag_type(self) -> str:
        return self._number.flag_type()


def define(config_type: type) -> None:
    """Defines the flags of `config_type`, those of its bases first.

    Of a flag that is there already, as where a command takes those of another one as well, only the
    help is replaced.
    """
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    hints = typing.get_type_hints(config_type)
    for part in reversed(config_type.__mro__):
        own = [name for name in vars(part).get("__annotations__", ()) if name in fields]
        with help_page.group(vars(part).get("GROUP", help_page.OTHER)):
            for name in own:
                _define(fields[name], kind_of(hints[name]))


def names(config_type: type) -> list[str]:
    """The flags of `config_type`."""
    return [
        name
        for field in dataclasses.fields(config_type)
        for name in field.metadata.get("options", (field.name,))
    ]


def parsed(config_type: type, flag_values: flags.FlagValues = flags.FLAGS) -> Any:
    """The configuration from the flags as they are parsed.

    Raises:
      ValueError: what `config_type` refuses.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config_type):
        options = field.metadata.get("options")
        if options is None:
            values[field.name] = _frozen(flag_values[field.name].value)
        else:
            given = {name: _frozen(flag_values[name].value) for name in options}
            values[field.name] = {n: value for n, value in given.items() if value is not None}
    return config_type(**values)


def from_json(config_type: type, record: Mapping[str, Any]) -> Any:
    """The configuration from a record of its fields, as config.json has them."""
    return config_type(**{name: _frozen(value) for name, value in record.items()})


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _define(field: dataclasses.Field, kind: type) -> None:
    about = field.metadata
    if "options" in about:
        for entry in about["options"].values():
            allowed = {"choices": entry.choices, "words": entry.words, **entry.limits}
            _flag(entry.name, None, entry.text, entry.kind, allowed)
            flag = flags.FLAGS[entry.name]
            flag.texts, flag.group = entry.texts, help_page.METHODS
    elif field.name in flags.FLAGS:
        flags.FLAGS[field.name].help = about["text"]
    else:
        _flag(field.name, field.default, about["text"], kind, about)
        if about.get("alias"):
            flags.DEFINE_alias(about["alias"], field.name)
            flags.FLAGS[about["alias"]].help = f"another name of --{field.name}"


def _flag(name: str, default: Any, text: str, kind: type, about: Mapping[str, Any]) -> None:
    if about.get("path"):
        define = path_flags.define_paths if kind is tuple else path_flags.define_path
        define(name, default, text)
    elif about["choices"]:
        flags.DEFINE_enum(name, default, about["choices"], text)
    elif kind in NUMBERS:
        number = NUMBERS[kind](about.get("lower"), about.get("upper"))
        parser = _Number(number, about.get("words", ()))
        flags.DEFINE(parser, name, default, text, serializer=flags.ArgumentSerializer())
    else:
        DEFINE[kind](name, list(default) if isinstance(default, tuple) else default, text)
