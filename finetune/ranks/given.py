"""Ranks that are known before training: read from a file, and given to a method.

A method has R components in every module, of which the first r_p are live: the gain of the others
is 0, so that they are neither trained nor exported.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp

from finetune.adapters.method import Leaves, Method
from finetune.weights.files import read_json
from finetune.weights.naming import alike


def read(file: str | os.PathLike) -> dict[str, int]:
    """Module path -> rank of a JSON file.

    Args:
      file: an object of ranks by path; or one that has it as "ranks", as the result.json of a run
        and what `launch.adapter inspect` writes; or that has the "rank" of each of its "modules",
        as the compression.json of `launch.adapter`.

    Raises:
      ValueError: no such file, ranks that are no integers from 0, or none above 0.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "ranks.json")
      ...     _ = file.write_text('{"ranks": {"fc1": 3, "fc2": 0}}')
      ...     read(file)
      {'fc1': 3, 'fc2': 0}
    """
    content = read_json(file)
    ranks = content
    if isinstance(content.get("ranks"), dict):
        ranks = content["ranks"]
    elif isinstance(content.get("modules"), dict):
        modules = content["modules"].items()
        ranks = {path: one.get("rank") if isinstance(one, dict) else one for path, one in modules}
    for path, rank in ranks.items():
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 0:
            raise ValueError(f"{file} has rank {rank!r} for {path!r}; allowed are integers from 0")
    if not any(ranks.values()):
        raise ValueError(f"{file} has no rank above 0; allowed are files of ranks by module path")
    return ranks


def of_paths(ranks: Mapping[str, int], paths: Iterable[str]) -> dict[str, int]:
    """The ranks of these modules, 0 of one that is not named.

    Names may have more or fewer parts in front than the paths, as those of a bare encoder's file.

    Raises:
      ValueError: a name of none of the modules, or of several.

    Example:
      >>> of_paths({"layer.0.query": 2}, ["bert.layer.0.query", "bert.layer.0.key"])
      {'bert.layer.0.query': 2, 'bert.layer.0.key': 0}
    """
    found = dict.fromkeys(paths, 0)
    for name, rank in ranks.items():
        places = alike(name, found)
        if len(places) != 1:
            several = ", ".join(places[:2]) or "none"
            known = ", ".join([*sorted(found)[:4], *(["..."] if len(found) > 4 else [])])
            raise ValueError(
                f"ranks names {name!r}, which of the adapted modules is {several}; allowed are "
                f"names of one each: {known}"
            )
        found[places[0]] = rank
    return found


def live(entry: Leaves, rank: jax.Array | int) -> Leaves:
    """The aux of a module with its first `rank` components and no others.

    Args:
      entry: with gain (R,), and the scale of live components as "scale" or the first gain.
    """
    gain = entry["gain"]
    scale = entry.get("scale", gain[0])
    kept = jnp.where(jnp.arange(gain.shape[0]) < rank, scale, 0).astype(gain.dtype)
    return {**entry, "gain": kept, "rank": jnp.asarray(rank, jnp.int32)}


def at_ranks(method: Method, ranks: Mapping[str, int]) -> Method:
    """The method with these ranks from its first step to its last.

    Args:
      method: with gains in its aux, as lora, and R at least the largest rank.
      ranks: by module path, see `of_paths`.

    Example:
      >>> from finetune.methods.lora import LoraConfig, lora
      >>> from finetune.adapters.method import Run
      >>> from finetune.optimiser import OptimiserConfig
      >>> plain = lora(LoraConfig(rank=3), Run(OptimiserConfig(), 10))
      >>> kernels = {"fc1": jnp.ones((4, 4)), "fc2": jnp.ones((4, 4))}
      >>> theta, aux = at_ranks(plain, {"fc1": 3}).prepare(jax.random.key(0), kernels, None)
      >>> {path: int(rank) for path, rank in plain.ranks(theta, aux).items()}
      {'fc1': 3, 'fc2': 0}
    """

    def prepare(key, kernels, gradients):
        theta, aux = method.prepare(key, kernels, gradients)
        return theta, {p: live(aux[p], rank) for p, rank in of_paths(ranks, aux).items()}

    return dataclasses.replace(method, prepare=prepare)
