"""Base and adapter as one model folder: W + A B under the base's own names.

The result needs neither PEFT nor this program: transformers loads it like any checkpoint (but for
the MLP, which it does not have).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from finetune.methods.method import Dense, Factors
from finetune.models.mlp import MLPConfig
from finetune.peft import fitting
from finetune.peft.card import Card, render
from finetune.peft.export import require_first_token, task_type_of
from finetune.peft.folders import new_folder
from finetune.weights.naming import named_leaves, rebuild
from finetune.weights.saving import config_json, save

# What a base's config.json says about another task, another dtype or another program.
# fmt: off
STALE = frozenset([
    "_name_or_path", "_num_labels", "finetuning_task", "id2label", "label2id", "num_labels",
    "pooling", "problem_type", "torch_dtype", "transformers_version",
])
# fmt: on


def merged(
    model: nnx.Module, adapters: Mapping[str, Factors | Dense], heads: Mapping[str, Any]
) -> nnx.Module:
    """The model with kernels W + a b (tables too) and the given heads.

    The sum is taken in float64 and rounded once, to the dtype of W; `model` is not changed.

    Args:
      model: with its numbers.
      adapters: module path -> Factors a (in, r), b (r, out), or Dense delta (in, out).
      heads: torch name -> parameter in our layout.

    Raises:
      ValueError: what does not fit the model, or is not finite.
    """
    frame = fitting.frame(model.config)
    shapes = {}
    for path, change in adapters.items():
        if isinstance(change, Dense):
            size_in, size_out = np.shape(change.delta)
            shapes[path] = ((size_in, 0), (0, size_out))
        else:
            shapes[path] = tuple(np.shape(leaf) for leaf in change)
    problems = fitting.adapter_misfits(frame, shapes)
    problems += fitting.head_misfits(frame, {n: np.shape(leaf) for n, leaf in heads.items()})
    problems += [
        f"{path} has an adapter and is in heads" for path in adapters if f"{path}.weight" in heads
    ]
    named = {f"{p}.{n}": leaf for p, c in adapters.items() for n, leaf in c._asdict().items()}
    fitting.refuse("adapter", problems + fitting.number_misfits({**named, **heads}))
    values = {name: leaf.value for name, leaf in named_leaves(model).items()}
    for path, change in adapters.items():
        values[f"{path}.weight"] = _sum(values[f"{path}.weight"], change)
    values |= {name: jnp.asarray(leaf, values[name].dtype) for name, leaf in heads.items()}
    return rebuild(model, values)


def export_merged(
    folder: str | os.PathLike,
    model: nnx.Module,
    adapters: Mapping[str, Factors | Dense],
    heads: Mapping[str, Any],
    *,
    base: str,
    revision: str | None = None,
    entries: Mapping[str, Any] | None = None,
    card: Card | None = None,
) -> None:
    """Writes config.json, model.safetensors and README.md into a new folder.

    Args:
      folder: must not exist; it appears whole or not at all.
      model, adapters, heads: see `merged`; heads may be empty.
      base, revision: of the base model, for the card.
      entries: the base's config.json; what of it does not shape the network (token ids) is kept.
      card: what the model card says beyond that.

    Raises:
      ValueError: the folder exists; what `merged` refuses; mean pooling, which transformers does
        not have. Nothing is written then.
    """
    require_first_token(model.config)
    result = merged(model, adapters, heads)
    ranks = {p: c.a.shape[1] for p, c in adapters.items() if isinstance(c, Factors)}
    readme = render(
        card or Card(),
        ranks,
        form="own" if isinstance(model.config, MLPConfig) else "merged",
        base=base,
        revision=revision,
        labels=model.config.num_labels,
        task_type=task_type_of(model.config),
        parameters=sum(leaf.size for change in adapters.values() for leaf in change),
    )
    kept = {name: value for name, value in (entries or {}).items() if name not in STALE}
    # transformers loads in the dtype that config.json names, and these are float32.
    raw = {**kept, **config_json(model.config), "dtype": "float32"}
    with new_folder(folder) as part:
        save(part, result)
        text = json.dumps(raw, indent=2, sort_keys=True)
        (part / "config.json").write_text(text + "\n", encoding="utf-8")
        (part / "README.md").write_text(readme, encoding="utf-8")


def _sum(kernel: Any, change: Factors | Dense) -> Any:
    wide = [np.asarray(leaf, np.float64) for leaf in change]
    delta = wide[0] if isinstance(change, Dense) else wide[0] @ wide[1]
    return jnp.asarray(np.asarray(kernel, np.float64) + delta, kernel.dtype)
