"""Files of flags, --flagfile=FILE: one flag a line, # and // begin comments, files in files."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

from absl import flags

from launch.shell.path_flags import expanded
from launch.shell.recipe_files import resolved

FLAG = "flagfile"


class Argument(NamedTuple):
    """An argument of a command line, and the file that it stands in; None for the command line."""

    text: str
    file: str | None


def read(arguments: Sequence[str], file: str | None = None, above: tuple = ()) -> list[Argument]:
    """`arguments` with the flags of every --flagfile=FILE in its place.

    Args:
      arguments: without the program's name.
      file: where they stand.
      above: files that are being read, outermost first.

    Raises:
      flags.Error: a file that cannot be read or that names itself.

    Example:
      >>> [argument.text for argument in read(["--flagfile=recipes/smoke/digits.flags"])][0]
      '--task=digits'
    """
    flat = []
    rest = iter(arguments)
    for text in rest:
        name, equals, value = text.partition("=")
        if text == "--":
            return [*flat, *(Argument(one, file) for one in (text, *rest))]
        if not text.startswith("-") or name.lstrip("-") != FLAG:
            flat.append(Argument(text, file))
            continue
        place = value if equals else next(rest, "")
        flat += read(_lines(place, file, above), place, (*above, place))
    return flat


def names(arguments: Sequence[str]) -> set[str]:
    """The flags that `arguments` give, those in files included.

    Raises:
      flags.Error: as `read`.

    Example:
      >>> sorted(names(["--steps=2", "--flagfile=recipes/methods/adapad_equal.flags"]))
      ['method', 'rank', 'steps']
    """
    return {argument.text.lstrip("-").partition("=")[0] for argument in read(arguments)}


def unparsed() -> flags.FlagValues:
    """The program's flags as before anything was parsed: a copy, to parse other arguments into."""
    values = copy.deepcopy(flags.FLAGS)
    values.unparse_flags()
    return values


def parse(
    program: str, arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """Parses into `values`; returns what is no flag, the program's name first.

    Raises:
      flags.Error: a flag that is not known or malformed, or a line that is no flag, with the file
        that it stands in.
    """
    flat = read(arguments)
    try:
        rest = values([program, *(argument.text for argument in flat)])
    except flags.Error as error:
        for argument in flat:
            name = argument.text.lstrip("-").partition("=")[0]
            if argument.file and name and (f"'{name}'" in str(error) or f"--{name}=" in str(error)):
                raise flags.Error(f"{argument.file}: {error}") from None
        raise
    for argument in flat:
        if argument.file and argument.text in rest[1:]:
            raise flags.Error(
                f"{argument.file}: {argument.text!r} is no flag; allowed are lines --NAME=VALUE"
            )
    return rest


def _lines(place: str, file: str | None, above: tuple[str, ...]) -> list[str]:
    where = f" (in {file})" if file else ""
    if place in above:
        raise flags.Error(f"--{FLAG}={place}{where} reads itself")
    try:
        text = resolved(expanded(place)).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise flags.Error(f"--{FLAG}={place}{where} cannot be read: {reason}") from None
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "//"))]
