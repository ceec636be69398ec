"""Every matrix of a safetensors file whose name fits a pattern: one decomposition each."""

from __future__ import annotations

import dataclasses
import fnmatch
import pathlib

from finetune.weights.files import open_safetensors
from launch.decomposing.config import DecomposeConfig

ENDING = ".safetensors"


def parts(config: DecomposeConfig) -> dict[str, DecomposeConfig]:
    """Tensor name -> the configuration of its own run; {} where --matrix is no pattern.

    A pattern has *, ? or [...] and is not itself the name of a tensor. Tensors that are no matrices
    (norms, biases) are passed by; every matrix has a folder of its name in --workdir.

    Raises:
      ValueError: no matrix fits, one is smaller than the rank, or the run is distributed.
    """
    path, colon, pattern = (config.matrix or "").partition(f"{ENDING}:")
    file = pathlib.Path(path + ENDING)
    if not colon or not set(pattern) & set("*?[") or not file.is_file():
        return {}
    entries = open_safetensors(file)
    if pattern in entries:
        return {}
    shapes = {
        name: entry.shape
        for name, entry in entries.items()
        if len(entry.shape) == 2 and fnmatch.fnmatchcase(name, pattern)
    }
    if not shapes:
        matrices = [name for name, entry in entries.items() if len(entry.shape) == 2]
        raise ValueError(
            f"--matrix={config.matrix} fits no matrix of {len(matrices)}; allowed is a pattern of "
            f"names such as {', '.join(matrices[:3])}"
        )
    small = [name for name, shape in shapes.items() if min(shape) < config.rank]
    if small:
        raise ValueError(
            f"--rank={config.rank} is above the rank of {small[0]}, of shape {shapes[small[0]]}; "
            "allowed is a smaller rank, or a pattern without it"
        )
    if config.distributed:
        raise ValueError("--distributed is for one matrix; allowed is a single name in --matrix")
    return {name: _own(config, f"{file}:{name}", name) for name in sorted(shapes)}


def _own(config: DecomposeConfig, matrix: str, name: str) -> DecomposeConfig:
    folder = config.workdir
    if folder is not None:
        folder = str(pathlib.Path(folder) / name.replace("/", "_"))
    return dataclasses.replace(config, matrix=matrix, workdir=folder, json=None)
