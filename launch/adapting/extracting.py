"""The difference of two checkpoints as changes of linear maps, and what lies outside of these."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from finetune import models
from finetune.peft import compatibility
from finetune.weights.entries import Entry
from finetune.weights.files import open_checkpoint
from finetune.weights.filling import full_names
from finetune.weights.naming import within
from launch.shell.waiting import progress


class Difference(NamedTuple):
    """What a tuned model changed of its base.

    Attributes:
      linear: module path -> W_1 - W_0 in our layout (in, out), of the maps that differ.
      outside: torch name -> the tuned value of other parameters that differ.
      share: of the squared norm of all changes, what lies in these.
      beside: the other parameters of modules that are kept whole, which PEFT asks for.
    """

    linear: dict[str, np.ndarray]
    outside: dict[str, np.ndarray]
    share: float = 0.0
    beside: Mapping[str, np.ndarray] = types.MappingProxyType({})

    @property
    def whole(self) -> list[str]:
        """The modules that are kept whole; other names outside are biases."""
        return sorted({_owner(name) for name in self.outside if not name.endswith(".bias")})

    @property
    def biases(self) -> list[str]:
        """Names of the parameters outside that are in no such module."""
        whole = set(self.whole)
        return [name for name in self.outside if _owner(name) not in whole]


def difference(model: str, base: str) -> Difference:
    """The changes of every tensor of two models with one body, folders or GGUF files.

    Heads may differ in anything, and either may be without: what only the tuned model has counts
    as changed, what only the base has as kept. Names are those of the tuned model's own file.

    Raises:
      ValueError: places that hold no weights, bodies of other tensors or shapes, no change at all,
        NaN or infinity.
    """
    files = [open_checkpoint(models.resolve(folder)).entries for folder in (model, base)]
    network = _network(base)
    maps = compatibility.frame(network.config).linear
    (new, problems), (old, others) = (full_names(network, entries) for entries in files)
    shared = new.keys() & old.keys()
    problems += others + [
        f"{name} is only in {'--model' if name in new else '--base'}"
        for name in new.keys() ^ old.keys()
        if _in_body(network, name)
    ]
    problems += [
        f"{name} has shapes {new[name].shape} and {old[name].shape}"
        for name in shared
        if new[name].shape != old[name].shape and _in_body(network, name)
    ]
    compatibility.refuse("--model and --base are not one architecture", problems)
    bare = network.base and not any(within(name, network.base) for name in files[0])
    linear, outside, squares = {}, {}, 0.0
    names = {n: n.removeprefix(f"{network.base}.") if bare else n for n in sorted(new)}
    for name, own in progress(names.items(), len(names), "tensors"):
        if _ignored(network, name):
            continue
        value = _number(new[name])
        kept = _number(old[name]) if name in shared else None
        if kept is not None and np.array_equal(value, kept):
            continue
        compatibility.refuse(model, compatibility.number_misfits({name: value}))
        if kept is None or kept.shape != value.shape:  # a head
            outside[own] = new[name].read()
            continue
        compatibility.refuse(base, compatibility.number_misfits({name: kept}))
        path = name.removesuffix(".weight")
        if path != name and path in maps:
            linear[own.removesuffix(".weight")] = (value - kept).T
        else:
            outside[own] = new[name].read()
            squares += _squares(value - kept)
    if not linear:
        raise ValueError(f"no linear map of {model} differs from that of {base}; allowed are some")
    share = squares / (squares + sum(map(_squares, linear.values())))
    whole = set(Difference(linear, outside).whole)
    beside = {
        own: new[name].read()
        for name, own in names.items()
        if _owner(own) in whole and own not in outside
    }
    return Difference(linear, outside, share, beside)


def refuse_outside(change: Difference) -> None:
    """Raises a ValueError that names parameters which factors cannot change."""
    names = sorted(change.outside)
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"{', '.join(names[:3])}{more} differ and are no linear maps of both models "
            f"({change.share:.2g} of the squared change); --outside=save keeps them whole beside "
            "the factors"
        )


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _squares(change: np.ndarray) -> float:
    return float(np.sum(change * change, dtype=np.float64))


def _network(base: str) -> Any:
    """The architecture, without numbers."""
    folder = models.resolve(base)
    kind = models.read_entries(folder).get("architectures") or [""]
    labels = 2 if "Classification" in kind[0] else 0
    try:
        config = models.read_config(folder, labels=labels)
    except ValueError:
        config = models.read_config(folder, labels=2)
    return models.abstract(config)


def _in_body(network: Any, name: str) -> bool:
    """Whether a tensor is one that every model of the architecture has, and no head's."""
    if any(within(name, path) for path in network.optional) or _ignored(network, name):
        return False
    return within(name, network.base) if network.base else True


def _ignored(network: Any, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in network.ignored)


def _number(entry: Entry) -> np.ndarray:
    value = entry.read()
    return value if value.dtype == np.float64 else value.astype(np.float32)
