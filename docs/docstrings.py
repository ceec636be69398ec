"""Docstrings as they are written here, in the form that the reference's generator reads.

A griffe extension. Two habits of ours mean something else in Markdown: a section is called
"Example:", which it takes for a note in prose, and a command's module shows command lines bare.
"""

from __future__ import annotations

import re

import griffe

COMMANDS = re.compile(r"(?:^(?:python -m|srun|    --).*\n?)+", re.MULTILINE)


def readable(text: str) -> str:
    """The docstring with its examples as examples and its command lines as code."""
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
    return COMMANDS.sub(lambda lines: f"```bash\n{lines[0].rstrip()}\n```\n", text)


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
