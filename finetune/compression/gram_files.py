"""Second moments of the inputs of maps as a file: module path -> S (in, in), in safetensors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np
from safetensors.numpy import save_file

from finetune.weights.files import open_safetensors
from finetune.weights.naming import alike
from rankwise.files import replacing


def write(file: str | os.PathLike, grams: Mapping[str, np.ndarray]) -> None:
    """The file appears whole, or stays as it was.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "grams.safetensors")
      ...     write(file, {"bert.layer.0.query": np.eye(2)})
      ...     read(file, ["layer.0.query"])["layer.0.query"].tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    with replacing(file) as part:
        save_file({path: np.ascontiguousarray(gram) for path, gram in grams.items()}, part)


def read(file: str | os.PathLike, paths: Iterable[str]) -> dict[str, np.ndarray]:
    """The matrices of these modules, whose names may have more or fewer parts in front.

    Raises:
      ValueError: no such file, or one without a single matrix for each module.
    """
    entries = open_safetensors(file)
    names = {path: alike(path, entries) for path in paths}
    if lacking := [path for path, own in names.items() if len(own) != 1]:
        raise ValueError(
            f"{file} has no matrix for {lacking[0]}"
            f"{f' and {len(lacking) - 1} more' if lacking[1:] else ''}; allowed is a file of "
            "launch.compress --grams=FILE of the same model, with --modules that take them in"
        )
    return {path: entries[name].read() for path, (name,) in names.items()}
