"""Module -> model folder that transformers and our own loader read: config.json, safetensors."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from finetune.weights.naming import named_leaves


def state_dict(model: nnx.Module) -> dict[str, np.ndarray]:
    """The parameters by torch's names and in torch's layout, contiguous float32 on the host."""
    return {
        name: np.ascontiguousarray(np.asarray(leaf.value).T if leaf.transposed else leaf.value)
        for name, leaf in named_leaves(model).items()
    }


def save(folder: str | os.PathLike, model: nnx.Module) -> None:
    """Writes config.json and model.safetensors; existing files of these names are replaced.

    With the architecture's own pooling, transformers' AutoModelForSequenceClassification, without
    any its AutoModelForQuestionAnswering, or its class for language models, reads the folder and
    gives the same logits; it has no mean pooling.

    Raises:
      ValueError: a folder that cannot be written.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state_dict(model), folder / "model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config_json(model.config), indent=2, sort_keys=True)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise ValueError(f"folder is {str(folder)!r}, which cannot be written: {error}") from None


def architecture_of(config) -> str:
    """The name of transformers' class for a network with its head."""
    of_spans = config.architecture.replace("ForSequenceClassification", "ForQuestionAnswering")
    return of_spans if config.of_tokens else config.architecture


def config_json(config, classes: Sequence[str] = ()) -> dict:
    """The entries of config.json, in transformers' terms.

    Args:
      classes: their names by number; () leaves transformers' placeholders.
    """
    entries = config.write()
    labels = range(entries.pop("num_labels"))
    if entries["pooling"] != "mean":  # else the architecture's name says it
        del entries["pooling"]
    classes = classes or [f"LABEL_{i}" for i in labels]
    names = {
        "id2label": {str(i): name for i, name in zip(labels, classes, strict=True)},
        "label2id": {name: i for i, name in zip(labels, classes, strict=True)},
    }
    return {
        **entries,
        **config.written,
        "model_type": config.model_type,
        "architectures": [architecture_of(config)],
        **(names if labels else {}),
    }
