"""Flags that name files and folders: a leading ~ is the home folder, as shells expand it.

A shell leaves the ~ of --workdir=~/run alone, and nobody expands one in a file of flags.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from absl import flags


def expanded(path: str) -> str:
    """`path` with a leading ~ or ~user replaced by that home folder.

    Raises:
      ValueError: a user without a home folder.

    Example:
      >>> expanded("runs/digits"), expanded("~/runs") == os.path.expanduser("~") + "/runs"
      ('runs/digits', True)
    """
    place = os.path.expanduser(path)
    if place.startswith("~"):
        raise ValueError(f"{path.partition('/')[0]} has no home folder; ./{path} is a path here")
    return place


class _Path(flags.ArgumentParser):
    def parse(self, argument: str) -> str:
        return expanded(argument)

    def flag_type(self) -> str:
        return "path"


class _Paths(flags.ListParser):
    def parse(self, argument: str | list[str]) -> list[str]:
        return [expanded(path) for path in super().parse(argument)]

    def flag_type(self) -> str:
        return "paths"


def define_path(name: str, default: str | None, text: str) -> None:
    """A flag of one path, or of what may be one (a name on the Hub, FILE:KEY)."""
    flags.DEFINE(_Path(), name, default, text, serializer=flags.ArgumentSerializer())


def define_paths(name: str, default: Sequence[str], text: str) -> None:
    """A flag of paths, or of names, with commas between them."""
    flags.DEFINE(_Paths(), name, list(default), text, serializer=flags.CsvListSerializer(","))
