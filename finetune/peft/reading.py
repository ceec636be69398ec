"""A folder that PEFT (or `export`) wrote -> factors and heads in our layout.

PEFT loads what matches and passes over the rest. Here every tensor must have its place, every
place its tensor, and every shape must fit the network, before a number is handed out.

Source: PEFT 0.21.2.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from finetune.methods.method import Factors, Scaled
from finetune.models.config import Config
from finetune.peft import fitting, naming, targets
from finetune.peft.config import AdapterConfig, read_config
from finetune.peft.export import WEIGHTS
from finetune.peft.fitting import Frame
from finetune.weights.entries import Entry
from finetune.weights.files import open_file

PICKLE = "adapter_model.bin"


class Adapter(NamedTuple):
    """An adapter in our layout, float32 (float64 where the file has that).

    Attributes:
      adapters: module path -> Factors a (in, r), b (r, out), all scales folded into a; of DoRA
        Scaled, with the magnitude (out,) beside them.
      heads: torch name -> parameter that replaces the base's, kernels (in, out).
      config: what adapter_config.json says.
    """

    adapters: dict[str, Factors | Scaled]
    heads: dict[str, np.ndarray]
    config: AdapterConfig


class _Group(NamedTuple):
    table: Mapping[str, str]
    entries: dict[str, Entry]


def load(folder: str | os.PathLike, config: Config) -> Adapter:
    """The adapter in a folder, for the network of `config`.

    LoRA with any ranks, alphas and rsLoRA, on linear maps and tables, DoRA, and AdaLoRA, whose
    factors get A diag(d) with the components of d = 0 left out.

    Args:
      folder: adapter_config.json and adapter_model.safetensors (or .bin, without running it).
      config: of the base model, with the adapter's number of labels.

    Raises:
      ValueError: one line with the file: another kind of adapter, tensors that are missing, not
        known or of other shapes, ranks that contradict the configuration, NaN or infinity.

    Example:
      >>> config = read_config("bert-base-uncased", labels=2)  # doctest: +SKIP
      >>> load("adapters/cola", config).adapters.keys()  # doctest: +SKIP
    """
    folder = pathlib.Path(folder)
    settings = read_config(folder)
    path = folder / (WEIGHTS if (folder / WEIGHTS).exists() else PICKLE)
    entries = open_file(path) if path.exists() else None
    if entries is None:
        raise ValueError(f"{folder} holds no adapter; allowed are {WEIGHTS} and {PICKLE}")
    frame = fitting.frame(config)
    groups, heads, problems = _sorted(entries, settings)
    problems += _module_problems(groups, settings, frame)
    problems += _head_problems(heads, settings, frame)
    fitting.refuse(str(path), problems)
    numbers = {name: entry.read() for name, entry in entries.items()}
    fitting.refuse(str(path), fitting.number_misfits(numbers))
    adapters = {p: _factors(p, group, settings) for p, group in sorted(groups.items())}
    read = {
        name: _ours(entry, frame.leaves[name].transposed) for name, entry in sorted(heads.items())
    }
    return Adapter(adapters, read, settings)


def _sorted(
    entries: Mapping[str, Entry], settings: AdapterConfig
) -> tuple[dict[str, _Group], dict[str, Entry], list[str]]:
    groups: dict[str, _Group] = {}
    heads, magnitudes, problems = {}, {}, []
    for name, entry in entries.items():
        place = naming.place(name, settings.peft_type, settings.dora)
        if place is None:
            problems.append(f"{name} is not known here")
        elif place.leaf is None:
            heads[place.path] = entry
        elif place.table is None:
            magnitudes[place.path] = entry
        else:
            group = groups.setdefault(place.path, _Group(place.table, {}))
            if group.table is not place.table:
                problems.append(f"{name} stands beside tensors of another kind")
            group.entries[place.leaf] = entry
    for path, entry in magnitudes.items():
        if path in groups:
            groups[path].entries["magnitude"] = entry
        else:
            problems.append(f"{naming.key(path, naming.MAGNITUDE)} stands without factors")
    return groups, heads, problems


def _module_problems(groups: dict[str, _Group], settings: AdapterConfig, frame: Frame) -> list[str]:
    problems, shapes = [], {}
    for path, (table, entries) in groups.items():
        wanted = {**table, "magnitude": naming.MAGNITUDE} if settings.dora else table
        lacking = [naming.key(path, wanted[leaf]) for leaf in wanted if leaf not in entries]
        problems += [f"{name} is missing" for name in lacking]
        if lacking:
            continue
        shapes[path] = tuple(entries[leaf].shape[::-1] for leaf in ("a", "b"))
        if settings.dora:
            shapes[path] += (entries["magnitude"].shape,)
        rank = entries["a"].shape[0] if entries["a"].shape else 0
        if "d" in entries and entries["d"].shape != (rank, 1):
            shape = entries["d"].shape
            problems.append(f"lora_E of {path} has shape {shape}; allowed is {(rank, 1)}")
        if rank != settings.rank_of(path):
            problems.append(
                f"{path} has rank {rank}; its configuration says {settings.rank_of(path)}"
            )
        # PEFT adapts what the configuration names, and would drop these tensors.
        if path in frame.shapes and not targets.adapted(settings, path):
            problems.append(f"{path} has tensors but is none of target_modules")
        kind = frame.embed if table is naming.EMBEDDING else frame.linear
        if path in frame.shapes and path not in kind:
            problems.append(f"{path} has tensors of another kind of module")
    problems += fitting.adapter_misfits(frame, shapes)
    wanted = [path for path in frame.shapes if targets.adapted(settings, path)]
    return problems + [f"tensors of {path} are missing" for path in wanted if path not in groups]


def _head_problems(heads: dict[str, Entry], settings: AdapterConfig, frame: Frame) -> list[str]:
    problems = [
        f"{name} is in none of modules_to_save"
        for name in heads
        if not targets.replaced(settings, name)
    ]
    wanted = [name for name in frame.leaves if targets.replaced(settings, name)]
    problems += [f"{naming.PREFIX}{name} is missing" for name in wanted if name not in heads]
    shapes = {
        name: entry.shape[::-1] if _transposed(frame, name) else entry.shape
        for name, entry in heads.items()
    }
    return problems + fitting.head_misfits(frame, shapes)


def _transposed(frame: Frame, name: str) -> bool:
    return name in frame.leaves and frame.leaves[name].transposed


def _factors(path: str, group: _Group, settings: AdapterConfig) -> Factors | Scaled:
    a, b = (_ours(group.entries[leaf], transposed=True) for leaf in ("a", "b"))
    gain = np.float64(settings.scale_of(path, max(a.shape[1], 1)))
    if "d" in group.entries:
        gain = gain * group.entries["d"].read().astype(np.float64)[:, 0]
        live = np.flatnonzero(gain)
        a, b, gain = a[:, live], b[live], gain[live]
    # Rounded once; a gain of 1 changes no bit.
    found = Factors(np.ascontiguousarray((a * gain).astype(a.dtype)), np.ascontiguousarray(b))
    if "magnitude" not in group.entries:
        return found
    return Scaled(*found, _ours(group.entries["magnitude"], transposed=False))


def _ours(entry: Entry, transposed: bool) -> np.ndarray:
    value = entry.read()
    if value.dtype != np.float64:
        value = value.astype(np.float32)
    return np.ascontiguousarray(value.T if transposed else value)
