"""A pretrained model from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import os
import pathlib

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import Config
from finetune.models.initialise import abstract, parameter
from finetune.models.parts.depth import runs
from finetune.models.parts.layered import Entry, grouped
from finetune.models.registry import read_config
from finetune.weights.files import open_checkpoint
from finetune.weights.filling import Placement, fill, place
from finetune.weights.gguf_files import is_gguf
from finetune.weights.naming import named_leaves

# Single and sharded files, and the pickles of repositories that have nothing else.
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin")


def load(
    source: str | os.PathLike,
    *,
    labels: int,
    key: jax.Array,
    dtype=jnp.float32,
    sharding: Placement = None,
    pooling: str | None = None,
    fresh_head: bool = False,
    revision: str | None = None,
    scan: int = 0,
) -> tuple[Config, nnx.Module]:
    """The configuration and the model of a pretrained checkpoint, without torch.

    Args:
      source: a folder with config.json and weights (model.safetensors or pytorch_model.bin, whole
        or sharded), a GGUF file, or the name of a repository on the Hub.
      labels: columns of the logits; 1 for a regression, 0 for a language model.
      key: for the parameters that the checkpoint lacks (a new classifier).
      dtype: compute dtype, float32 or bfloat16; parameters are float32.
      sharding: a `jax.sharding.Sharding` for all parameters, or a function (name, shape) -> one;
        None for the default device. Parameters are placed one by one.
      pooling: "cls" or "mean", the vector that the head sees, or "none" for a head on every token;
        None for the architecture's own.
      fresh_head: do not read the checkpoint's classifier (another task with other labels).
      revision: branch, tag or commit on the Hub.
      scan: read the parameters of layers that are alike into one array, where at least so many
        follow each other. The model is then one for `finetune.training.network.from_module` with
        the same `scan`, which else puts them together and holds them twice for that.

    Returns:
      config, model. `model.fresh` names the parameters that were not in the checkpoint.

    Raises:
      ValueError: nothing there, a configuration that is not known, or weights that do not fit; all
        misfits of a checkpoint are in one message.

    Example:
      >>> config, model = load(
      ...     "sentence-transformers/all-MiniLM-L6-v2", labels=2, key=jax.random.key(0)
      ... )  # doctest: +SKIP
      >>> model.fresh  # doctest: +SKIP
      ('classifier.bias', 'classifier.weight')
    """
    folder = resolve(source, revision=revision)
    config = read_config(folder, labels=labels, pooling=pooling)
    model = abstract(config, dtype)

    def fresh(name: str, shape: tuple[int, ...]) -> jax.Array:
        return place(name, parameter(config, key, name, shape), sharding)

    checkpoint = open_checkpoint(folder)
    leaves = {name: leaf.value for name, leaf in named_leaves(model).items()}
    groups = grouped(leaves, runs(model, scan))
    how = {"sharding": sharding, "fresh_head": fresh_head, "groups": groups, "entry": Entry}
    return config, fill(model, checkpoint, fresh, **how)


def resolve(source: str | os.PathLike, *, revision: str | None = None) -> pathlib.Path:
    """The local folder or GGUF file of a model; a name on the Hub is downloaded into its cache.

    Pickles are asked for only where the repository has no safetensors. The folder's name of a
    download is the commit.

    Raises:
      ValueError: neither a folder nor a repository that can be reached.
    """
    folder = pathlib.Path(source)
    if folder.is_dir() or (is_gguf(folder) and folder.is_file()):
        return folder
    if is_gguf(folder):
        raise ValueError(f"model is {os.fspath(source)!r}; no such file: give one that is there")
    # Imported here: a local folder needs no client.
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError

    name = os.fspath(source)
    try:
        for weights in (SAFETENSORS, PICKLES):
            folder = pathlib.Path(
                huggingface_hub.snapshot_download(
                    name, revision=revision, allow_patterns=["config.json", *weights]
                )
            )
            if any(any(folder.glob(pattern)) for pattern in weights):
                break
    except (OSError, HFValidationError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"model is {name!r}; no such folder, and the Hub does not give it: {reason}"
        ) from None
    return folder
