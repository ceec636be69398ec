"""Docstrings as they are written here, in the form that the reference's generator reads.

A griffe extension. Three habits of ours mean something else in Markdown: a section is called
"Example:", which it takes for a note in prose, a command's module shows command lines bare, and
x["a"]["b"] in prose is no link.
"""

from __future__ import annotations

import re

import griffe

# Two brackets in a row, which would be a link, but not in code.
LINK = re.compile(r"(`[^`]*`)|\](\s?)\[")
COMMANDS = re.compile(r"(?:^(?:python -m|srun|    --).*\n?)+", re.MULTILINE)


def readable(text: str) -> str:
    """The docstring with its examples as examples and its command lines as code."""
    prose, example, code = text.partition("\nExample:\n")
    prose = LINK.sub(lambda match: match[1] or f"]{match[2]}&#91;", prose)
    text = prose + example.replace("Example", "Examples") + code
    return COMMANDS.sub(lambda lines: f"```bash\n{lines[0].rstrip()}\n```\n", text)


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
