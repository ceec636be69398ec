"""The difference of two checkpoints as changes of linear maps, and what lies outside of these."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from finetune import models
from finetune.peft import compatibility
from finetune.weights.entries import Entry
from finetune.weights.files import open_checkpoint
from launch.shell.waiting import progress


class Difference(NamedTuple):
    """What a tuned model changed of its base.

    Attributes:
      linear: module path -> W_1 - W_0 in our layout (in, out), of the maps that differ.
      outside: torch name -> the tuned value of other parameters that differ.
      share: of the squared norm of all changes, what lies in these.
    """

    linear: dict[str, np.ndarray]
    outside: dict[str, np.ndarray]
    share: float = 0.0


def difference(model: str, base: str) -> Difference:
    """The changes of every tensor of two models of one architecture, folders or GGUF files.

    Raises:
      ValueError: places that hold no weights, tensors that only one has or of other shapes, no
        change at all, NaN or infinity.
    """
    new, old = (open_checkpoint(models.resolve(folder)) for folder in (model, base))
    maps = _linear_maps(base)
    shared = new.entries.keys() & old.entries.keys()
    problems = [
        f"{name} is only in {'--model' if name in new.entries else '--base'}"
        for name in new.entries.keys() ^ old.entries.keys()
    ]
    problems += [
        f"{name} has shapes {new.entries[name].shape} and {old.entries[name].shape}"
        for name in shared
        if new.entries[name].shape != old.entries[name].shape
    ]
    compatibility.refuse("--model and --base are not one architecture", problems)
    linear, outside, squares = {}, {}, 0.0
    for name in progress(sorted(shared), len(shared), "tensors"):
        values = [_number(entries[name]) for entries in (new.entries, old.entries)]
        if np.array_equal(*values):
            continue
        compatibility.refuse(model, compatibility.number_misfits({name: values[0]}))
        compatibility.refuse(base, compatibility.number_misfits({name: values[1]}))
        path = name.removesuffix(".weight")
        if name in maps:
            linear[path] = (values[0] - values[1]).T
        else:
            outside[name] = new.entries[name].read()
            squares += _squares(values[0] - values[1])
    if not linear:
        raise ValueError(f"no linear map of {model} differs from that of {base}; allowed are some")
    share = squares / (squares + sum(map(_squares, linear.values())))
    return Difference(linear, outside, share)


def refuse_outside(change: Difference) -> None:
    """Raises a ValueError that names parameters which factors cannot change."""
    names = sorted(change.outside)
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"{', '.join(names[:3])}{more} differ and are no linear maps ({change.share:.2g} of "
            "the squared change); --outside=save keeps them whole beside the factors"
        )


def _squares(change: np.ndarray) -> float:
    return float(np.sum(change * change, dtype=np.float64))


def _linear_maps(base: str) -> set[str]:
    """Torch names of the kernels of linear maps, in the checkpoint's own words."""
    folder = models.resolve(base)
    kind = models.read_entries(folder).get("architectures") or [""]
    labels = 2 if "Classification" in kind[0] else 0
    try:
        config = models.read_config(folder, labels=labels)
    except ValueError:
        config = models.read_config(folder, labels=2)
    frame = compatibility.frame(config)
    own = {f"{path}.weight" for path in frame.linear}
    # A bare encoder's file leaves out the base's name.
    return own | {f"{path}.weight" for path in compatibility.bare(frame).linear if frame.base}


def _number(entry: Entry) -> np.ndarray:
    value = entry.read()
    return value if value.dtype == np.float64 else value.astype(np.float32)
