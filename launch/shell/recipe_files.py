"""Recipes and presets by name: the user's own file, or else that of the installed package."""

from __future__ import annotations

import functools
import pathlib
import sys

NAME = "recipes"
HERE = pathlib.Path(__file__).parents[1]


def resolved(path: str) -> pathlib.Path:
    """`path` where there is such a file, else the recipe of that name that came with the package.

    Whose file is read is said on stderr, once, when it is the package's.

    Args:
      path: for example recipes/deberta/rte.flags; for the package's, as in the repository.

    Example:
      >>> resolved("recipes/smoke/digits.flags").name
      'digits.flags'
    """
    own = pathlib.Path(path)
    if own.exists() or own.is_absolute() or own.parts[:1] != (NAME,):
        return own
    packaged = folder().joinpath(*own.parts[1:])
    if not packaged.is_file():
        return own
    _tell(path, packaged)
    return packaged


def folder() -> pathlib.Path:
    """The package's recipes: within it when it is installed, beside it in the repository."""
    installed = HERE / NAME
    return installed if installed.is_dir() else HERE.parent / NAME


@functools.cache
def _tell(path: str, packaged: pathlib.Path) -> None:
    print(f"{path} is not here; reading {packaged}", file=sys.stderr, flush=True)
