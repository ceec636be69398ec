"""What --help prints: all flags of a command, in groups, and none of the libraries'."""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from absl import flags

WIDTH = 100
INDENT = " " * 6
OTHER = "flags"
METHODS = "options of methods"
VALUES = {"int": "N", "float": "X", "path": "PATH", "paths": "PATH,PATH", "string": "TEXT"}


@contextlib.contextmanager
def group(title: str) -> Iterator[None]:
    """Flags that are defined in the block, and are in no group yet, are shown under `title`."""
    before = set(flags.FLAGS)
    yield
    for name in set(flags.FLAGS) - before:
        if not hasattr(flags.FLAGS[name], "group"):
            flags.FLAGS[name].group = title


def text(documentation: str, names: Iterable[str], method: str | None = None) -> str:
    """The page.

    Args:
      documentation: of the command.
      names: of its flags, in their order.
      method: of the options of methods only its own are shown, with its defaults; None shows all.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        flag = flags.FLAGS[name]
        texts = getattr(flag, "texts", None)
        if texts is not None and method and not any(method in of for of in texts.values()):
            continue
        groups.setdefault(getattr(flag, "group", OTHER), []).append(_entry(flag, method))
    parts = [documentation.strip()] if documentation else []
    for title, entries in groups.items():
        if title == METHODS:
            title = f"options of --method={method}" if method else f"{title} [default: method]"
        parts.append("\n".join([f"{title}:", *entries]))
    return "\n\n".join(parts) + "\n"


def _entry(flag: flags.Flag, method: str | None) -> str:
    value = _value(flag)
    head = f"  --[no]{flag.name}" if flag.boolean else f"  --{flag.name}={value}"
    description = _of_method(flag, method) or flag.help
    description = (
        description.partition(">: ")[2] if description.startswith(f"<{value}>: ") else description
    )
    default = _default(flag)
    description += f" [{default}]" if default else ""
    wrapped = textwrap.wrap(description, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join([head, *wrapped])


def _value(flag: flags.Flag) -> str:
    choices = "|".join(getattr(flag.parser, "enum_values", []))
    if choices:
        return choices if len(choices) < WIDTH - 30 else "NAME"
    return VALUES.get(flag.flag_type(), "A,B")


def _of_method(flag: flags.Flag, method: str | None) -> str:
    """The help of an option with the default of this method alone; "" for other flags."""
    texts: dict[str, dict[str, Any]] = getattr(flag, "texts", {})
    for description, defaults in texts.items():
        if method in defaults:
            value = defaults[method]
            return description if value is None else f"{description} [{value}]"
    return ""


def _default(flag: flags.Flag) -> str:
    limits = flag.parser.syntactic_help if flag.flag_type() in ("int", "float") else ""
    limits = limits if any(c.isdigit() for c in limits) or "positive" in limits else ""
    value = flag.default_as_str.strip("'") if flag.default not in (None, [], "") else ""
    value = "" if flag.boolean and not flag.default else value
    return "; ".join(filter(None, (value, limits)))
