"""A compressed network as a model folder: its source's files, with other kernels."""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from finetune import models
from finetune.adapters.method import Factors
from finetune.compression import forms, modeling_rankwise
from finetune.peft.export import write_json
from finetune.peft.standalone import FLOATS
from finetune.weights import low_rank
from finetune.weights.files import open_checkpoint
from rankwise.folders import new_folder

DTYPES = {**FLOATS, "float64": np.float64}
RECORD = "compression.json"


def write(
    folder: str | os.PathLike,
    source: str | os.PathLike,
    base: str,
    maps: Mapping[str, Factors],
    form: str,
    *,
    record: Mapping[str, Any],
    files: Iterable[pathlib.Path] = (),
    readme: str = "",
) -> None:
    """Writes config.json, model.safetensors, README.md and compression.json into a new folder.

    Beside forms other than dense lies `modeling_rankwise.py`, with which transformers reads them.

    Tensors keep their names and dtypes, those without a forward pass here included, so that a
    folder of dense kernels loads wherever its source does.

    Args:
      folder: must not exist; it appears whole or not at all.
      source: folder or GGUF file of the model.
      base: the name that a bare encoder's file leaves out, see `finetune.models.registry`.
      maps: module path -> a (in, r), b (r, out).
      form: of `forms.FORMS`.
      record: the entries of compression.json.
      files: copied into the folder: the tokenizer's, and figures.
      readme: the model card.

    Raises:
      ValueError: the folder exists, or a map that the source does not have.
    """
    entries = dict(open_checkpoint(source).entries)
    names = {path: stored_name(path, base, entries) for path in maps}
    config = models.read_entries(source)
    if form != "dense":
        ranks = {names[path]: factors.a.shape[1] for path, factors in maps.items()}
        config = low_rank.marked(config, ranks)
    with new_folder(folder) as part:
        tensors = {}
        for path, factors in maps.items():
            dtype = DTYPES.get(entries.pop(f"{names[path]}.weight").dtype, np.float32)
            tensors |= stored(names[path], factors, form, dtype)
        tensors |= {name: np.ascontiguousarray(entry.read()) for name, entry in entries.items()}
        save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
        write_json(part / "config.json", config)
        write_json(part / RECORD, record)
        (part / "README.md").write_text(readme, encoding="utf-8")
        for file in files:
            shutil.copyfile(file, part / file.name)
        if form != "dense":
            shutil.copyfile(modeling_rankwise.__file__, part / "modeling_rankwise.py")


def stored(name: str, factors: Factors, form: str, dtype: Any) -> dict[str, np.ndarray]:
    """Tensor name -> numbers of one map, in torch's layout.

    Example:
      >>> factors = Factors(np.ones((3, 1)), np.ones((1, 2)))
      >>> {n: t.shape for n, t in stored("fc", factors, "factors", np.float32).items()}
      {'fc.low_rank.b': (2, 1), 'fc.low_rank.a': (1, 3)}
    """
    a, b = factors
    if form == "dense":
        parts = {".weight": (a @ b).T}
    elif form == "factors":
        parts = dict(zip(low_rank.FACTORS, (b.T, a.T), strict=True))
    else:
        rows, rest, order = forms.pivot(factors)
        parts = dict(zip(low_rank.PIVOT, (rows.T, rest.T, order), strict=True))
    return {
        name + suffix: np.ascontiguousarray(v if v.dtype == np.int32 else v.astype(dtype))
        for suffix, v in parts.items()
    }


def stored_name(path: str, base: str, entries: Mapping[str, Any]) -> str:
    """The module's name in the file."""
    for name in (path, path.removeprefix(f"{base}.")):
        if f"{name}.weight" in entries:
            return name
    raise ValueError(f"{path} is not in the checkpoint; allowed are maps whose kernels are")
