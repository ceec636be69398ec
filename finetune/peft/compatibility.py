"""Whether an adapter belongs to a network: before it is written, and before it is handed out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from finetune.models.config import Config
from finetune.models.initialise import abstract
from finetune.models.modules import modules
from finetune.weights.naming import Leaf, named_leaves

SHOWN = 4


class Frame(NamedTuple):
    """What a network can take.

    Attributes:
      linear: module path -> (in, out).
      embed: module path -> (rows, features).
      leaves: torch name -> parameter, abstract.
      heads: paths of the modules that are trained whole, if any is.
      optional: paths of modules that a bare encoder lacks; heads are among them.
      tied: paths of tables that have other uses, which an adapter would or would not reach.
      base: the module that a bare encoder leaves out of its names ("bert"), "" if none.
    """

    linear: dict[str, tuple[int, int]]
    embed: dict[str, tuple[int, int]]
    leaves: dict[str, Leaf]
    heads: tuple[str, ...]
    optional: tuple[str, ...]
    tied: tuple[str, ...] = ()
    base: str = ""

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Module path -> (in, out), tables included."""
        return {**self.embed, **self.linear}

    def within(self, path: str) -> set[str]:
        """Names of the parameters of a module."""
        return {name for name in self.leaves if name.startswith(f"{path}.")}


def frame(config: Config) -> Frame:
    """The frame of a configuration; nothing is computed.

    Example:
      >>> from finetune.models.mlp import MLPConfig
      >>> frame(MLPConfig(num_labels=10, input_size=64)).linear["fc3"]
      (512, 10)
    """
    model = abstract(config)
    linear, embed = modules(model)
    leaves, tied = named_leaves(model), getattr(model, "tied", ())
    return Frame(linear, embed, leaves, model.trainable_heads, model.optional, tied, model.base)


def adapter_misfits(frame: Frame, shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> list[str]:
    """Adapters on modules that are not there, or of other sizes.

    Args:
      shapes: module path -> shapes of A and B, which should be (in, r) and (r, out), and where
        there is a magnitude its shape, which should be (out,).
    """
    problems = []
    for path, (a, b, *lengths) in shapes.items():
        if path not in frame.shapes:
            problems.append(f"there is no module {path}")
            continue
        if path in frame.tied:
            problems.append(f"{path} is a tied table; an adapter on it is not the same elsewhere")
        size_in, size_out = frame.shapes[path]
        rank = a[1] if len(a) == 2 else 0
        if (a, b) != ((size_in, rank), (rank, size_out)):
            problems.append(
                f"{path} has factors of shapes {a} and {b}; allowed are ({size_in}, r) and "
                f"(r, {size_out})"
            )
        if lengths not in ([], [(size_out,)]):
            problems.append(
                f"{path} has a magnitude of shape {lengths[0]}; allowed is ({size_out},)"
            )
    return problems


def bare(frame: Frame) -> Frame:
    """The frame of the encoder alone, whose names leave out the base's; it has no heads."""
    start = f"{frame.base}."

    def inner(entries):
        return {n.removeprefix(start): e for n, e in entries.items() if n.startswith(start)}

    tied = tuple(path.removeprefix(start) for path in frame.tied)
    return Frame(inner(frame.linear), inner(frame.embed), inner(frame.leaves), (), (), tied)


def head_misfits(
    frame: Frame, shapes: Mapping[str, tuple[int, ...]], heads_only: bool = False
) -> list[str]:
    """Whole parameters that are not there, or of other shapes; torch names, our layout.

    Args:
      heads_only: those of the body of the network are misfits too.
    """
    problems = []
    for name, shape in shapes.items():
        if heads_only and not any(name.startswith(f"{path}.") for path in frame.optional):
            problems.append(f"{name} belongs to no head")
        elif name not in frame.leaves:
            problems.append(f"there is no parameter {name}")
        elif shape != frame.leaves[name].shape:
            problems.append(f"{name} has shape {shape}; allowed is {frame.leaves[name].shape}")
    return problems


def number_misfits(arrays: Mapping[str, Any]) -> list[str]:
    """Arrays that are not floating, not finite."""
    problems = []
    for name, value in arrays.items():
        value = np.asarray(value)
        if value.dtype.kind != "f" and value.dtype.name != "bfloat16":
            problems.append(f"{name} has dtype {value.dtype.name}; allowed are floating dtypes")
        elif not np.isfinite(value.astype(np.float64)).all():
            problems.append(f"{name} contains NaN or infinity; allowed are finite numbers")
    return problems


def refuse(what: str, problems: Iterable[str]) -> None:
    """Raises a ValueError with the first problems in one line, if there are any."""
    problems = sorted(problems)
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(f"{what}: " + "; ".join(problems[:SHOWN]) + more)
