"""Base and adapter as one model folder: the changed kernels under the base's own names.

The result needs neither PEFT nor this program: transformers loads it like any checkpoint (but for
the MLP, which it does not have).
"""

from __future__ import annotations

import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from finetune.adapters.method import Change, Dense, Scaled
from finetune.models.mlp import MLPConfig
from finetune.peft import compatibility
from finetune.peft.card import Card, render
from finetune.peft.export import model_json, require_first_token, task_type_of, write_json
from finetune.weights.naming import named_leaves, rebuild
from finetune.weights.saving import state_dict
from rankwise.folders import new_folder

HEAD = "head.safetensors"
"""What transformers has no class for, beside a backbone."""


def merged(
    model: nnx.Module, adapters: Mapping[str, Change], heads: Mapping[str, Any]
) -> nnx.Module:
    """The model with changed kernels (tables too) and the given heads.

    A kernel is taken in float64 and rounded once, to the dtype of W; `model` is not changed.

    Args:
      model: with its numbers.
      adapters: module path -> Factors a (in, r), b (r, out), which give W + a b; Scaled, which
        also sets the lengths of the columns of that; or Dense delta (in, out).
      heads: torch name -> parameter in our layout, which replaces the model's before it changes.

    Raises:
      ValueError: what does not fit the model, or is not finite.
    """
    frame = compatibility.frame(model.config)
    shapes = {}
    for path, change in adapters.items():
        if isinstance(change, Dense):
            size_in, size_out = np.shape(change.delta)
            shapes[path] = ((size_in, 0), (0, size_out))
        else:
            shapes[path] = tuple(np.shape(leaf) for leaf in change)
    problems = compatibility.adapter_misfits(frame, shapes)
    problems += compatibility.head_misfits(frame, {n: np.shape(leaf) for n, leaf in heads.items()})
    named = {f"{p}.{n}": leaf for p, c in adapters.items() for n, leaf in c._asdict().items()}
    compatibility.refuse("adapter", problems + compatibility.number_misfits({**named, **heads}))
    values = {name: leaf.value for name, leaf in named_leaves(model).items()}
    values |= {name: jnp.asarray(leaf, values[name].dtype) for name, leaf in heads.items()}
    for path, change in adapters.items():
        kernel = values[f"{path}.weight"]
        values[f"{path}.weight"] = jnp.asarray(changed_kernel(kernel, change), kernel.dtype)
    return rebuild(model, values)


def export_merged(
    folder: str | os.PathLike,
    model: nnx.Module,
    adapters: Mapping[str, Change],
    heads: Mapping[str, Any],
    *,
    base: str,
    revision: str | None = None,
    entries: Mapping[str, Any] | None = None,
    classes: Sequence[str] = (),
    files: Iterable[pathlib.Path] = (),
    card: Card | None = None,
) -> None:
    """Writes config.json, model.safetensors and README.md into a new folder.

    Of a network with mean pooling, whose classifier transformers does not have, model.safetensors
    is the backbone under the names of `AutoModel`, and head.safetensors what reads the mean of its
    last hidden states, torch's names and layout.

    Args:
      folder: must not exist; it appears whole or not at all.
      model, adapters, heads: see `merged`; heads may be empty.
      base, revision: of the base model, for the card.
      entries: the base's config.json; what of it does not shape the network (token ids) is kept.
      classes: names of the classes by number, for config.json and the card.
      files: copied into the folder: the tokenizer's.
      card: what the model card says beyond that.

    Raises:
      ValueError: the folder exists; what `merged` refuses. Nothing is written then.
    """
    files, config = tuple(files), model.config
    if not model.base:
        require_first_token(config)  # there is no backbone apart from the head
    result = merged(model, adapters, heads)
    ranks = {p: c.a.shape[1] for p, c in adapters.items() if not isinstance(c, Dense)}
    whole = "backbone" if config.pooling == "mean" else "merged"
    readme = render(
        card or Card(),
        ranks,
        form="own" if isinstance(config, MLPConfig) else whole,
        base=base,
        revision=revision,
        labels=config.num_labels,
        task_type=task_type_of(config),
        classes=classes,
        tokenizer=bool(files),
        parameters=sum(leaf.size for change in adapters.values() for leaf in change),
    )
    raw = model_json(config, entries, classes)
    tensors = {"model.safetensors": state_dict(result)}
    if whole == "backbone":
        start = f"{model.base}."
        inner = {n: t for n, t in tensors["model.safetensors"].items() if n.startswith(start)}
        head = {n: t for n, t in tensors["model.safetensors"].items() if n not in inner}
        tensors = {"model.safetensors": {n.removeprefix(start): t for n, t in inner.items()}}
        tensors[HEAD] = head
        raw["architectures"] = [config.architecture.replace("ForSequenceClassification", "Model")]
    with new_folder(folder) as part:
        for name, arrays in tensors.items():
            save_file(arrays, part / name, metadata={"format": "pt"})
        write_json(part / "config.json", raw)
        (part / "README.md").write_text(readme, encoding="utf-8")
        for file in files:
            shutil.copyfile(file, part / file.name)


def changed_kernel(kernel: Any, change: Change) -> np.ndarray:
    """W with its change (in, out), float64."""
    wide = type(change)(*(np.asarray(leaf, np.float64) for leaf in change))
    new = np.asarray(kernel, np.float64)
    if not isinstance(wide, Scaled):
        return new + wide.delta
    new = new + wide.a @ wide.b
    length = np.linalg.norm(new, axis=0)
    return new * (wide.magnitude / np.where(length > 0, length, 1))
