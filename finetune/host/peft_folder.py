"""Adapters of a model of one's own as a folder of PEFT's, for its torch twin."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save_file

from finetune.adapters.method import Dense
from finetune.host.modules import ROWS, Module
from finetune.peft.card import Card, render
from finetune.peft.compatibility import Frame
from finetune.peft.config import FILE
from finetune.peft.export import WEIGHTS, settings_of, tensors_of, write_json
from finetune.training.adapter_files import Adapter
from rankwise.folders import new_folder

SHOWN = 3


def write(
    folder: pathlib.Path,
    adapter: Adapter,
    modules: Mapping[str, Module],
    base: str,
    names: Mapping[str, str] | None,
) -> None:
    """Writes adapter_config.json, adapter_model.safetensors and README.md.

    Args:
      folder: must not exist; it appears whole or not at all.
      modules: array name -> Module of the adapted arrays.
      base: the base model on the Hub, or its folder.
      names: path -> torch's name of the module.

    Raises:
      ValueError: the folder exists; a path without a name or two with one; a dense change;
        parameters trained whole, whose torch layout is not known.
    """
    paths = sorted(adapter.modules)
    lacking = [path for path in paths if path not in (names or {})]
    if lacking:
        raise ValueError(
            f"names is {'None' if names is None else 'incomplete'}; PEFT needs torch's names of "
            f"{', '.join(lacking[:SHOWN])}{', ...' if len(lacking) > SHOWN else ''}"
        )
    if adapter.head:
        raise ValueError(
            f"{min(adapter.head)} is trained whole; a folder of PEFT's holds adapters alone here, "
            "use merge"
        )
    dense = [path for path in paths if isinstance(adapter.modules[path], Dense)]
    if dense:
        raise ValueError(f"{dense[0]} has a dense change, and PEFT knows low rank alone; use merge")
    changes = {names[path]: adapter.modules[path] for path in paths}
    if len(changes) < len(paths):
        raise ValueError("names gives two kernels one name; allowed are different ones")
    tables = {names[m.paths[0]] for m in modules.values() if m.kind == ROWS}
    ranks = {name: change.a.shape[1] for name, change in changes.items()}
    linear = {n: (c.a.shape[0], c.b.shape[1]) for n, c in changes.items() if n not in tables}
    tensors = tensors_of(Frame(linear, {}, {}, (), ()), changes, {})
    settings = settings_of(
        {name: rank for name, rank in ranks.items() if rank},
        base=base,
        revision=None,
        task_type=None,
        modules_to_save=(),
        dora=any(hasattr(change, "magnitude") for change in changes.values()),
    )
    readme = render(
        Card(method=adapter.about["method"]),
        ranks,
        form="peft",
        base=base,
        revision=None,
        labels=None,
        parameters=sum(np.size(leaf) for change in changes.values() for leaf in change),
        task_type=None,
    )
    with new_folder(folder) as part:
        save_file(tensors, part / WEIGHTS, metadata={"format": "pt"})
        write_json(part / FILE, settings)
        (part / "README.md").write_text(readme, encoding="utf-8")
