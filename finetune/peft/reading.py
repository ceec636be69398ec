"""A folder that PEFT (or `export`) wrote -> factors and heads in our layout.

PEFT loads what matches and passes over the rest. Here every tensor must have its place, every
place its tensor, and every shape must fit the network, before a number is handed out.

Source: PEFT 0.21.2.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from finetune.adapters.method import Factors, Scaled
from finetune.models.config import Config
from finetune.peft import compatibility, naming, targets
from finetune.peft.compatibility import Frame
from finetune.peft.config import AdapterConfig, read_config
from finetune.peft.export import WEIGHTS
from finetune.weights.entries import Entry
from finetune.weights.files import open_file

PICKLE = "adapter_model.bin"


class Adapter(NamedTuple):
    """An adapter in our layout, float32 (float64 where the file has that).

    Attributes:
      adapters: module path -> Factors a (in, r), b (r, out), all scales folded into a; of DoRA
        Scaled, with the magnitude (out,) beside them.
      heads: torch name -> parameter that replaces the base's, kernels (in, out): of heads, of other
        modules that were trained whole (norms), biases that were trained beside, and the base's own
        maps to or from the vocabulary where PEFT saved them: factors on them change these.
      config: what adapter_config.json says.
    """

    adapters: dict[str, Factors | Scaled]
    heads: dict[str, np.ndarray]
    config: AdapterConfig


class Group(NamedTuple):
    """The tensors of one module.

    Attributes:
      table: leaf -> the end of its name, for this kind of module.
      entries: leaf -> tensor.
    """

    table: Mapping[str, str]
    entries: dict[str, Entry]


def load(folder: str | os.PathLike, config: Config) -> Adapter:
    """The adapter in a folder, for the network of `config`.

    LoRA with any ranks, alphas and rsLoRA, on linear maps and tables, DoRA, and AdaLoRA, whose
    factors get A diag(d) with the components of d = 0 left out. Names may be those of the bare
    encoder (without "bert."), as an adapter on `AutoModel` has them.

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
    path, entries = tensors_in(folder)
    frame, prefix = compatibility.frame(config), ""
    groups, heads, problems = by_module(entries, settings)
    alone = compatibility.bare(frame)
    if frame.base and not groups.keys() & frame.shapes and groups.keys() & alone.shapes:
        # The configuration's patterns mean these names: only what is handed out gets the prefix.
        frame, prefix = alone, f"{frame.base}."
    problems += _module_problems(groups, settings, frame)
    problems += _head_problems(heads, settings, frame)
    own = {f"{p}.weight": g.entries["base"] for p, g in groups.items() if "base" in g.entries}
    problems += compatibility.head_misfits(frame, _shapes(frame, own))
    heads |= own
    compatibility.refuse(str(path), problems)
    numbers = {name: entry.read() for name, entry in entries.items()}
    compatibility.refuse(str(path), compatibility.number_misfits(numbers))
    adapters = {prefix + p: factors_of(p, group, settings) for p, group in sorted(groups.items())}
    read = {
        prefix + name: _ours(entry, frame.leaves[name].transposed)
        for name, entry in sorted(heads.items())
    }
    return Adapter(adapters, read, settings)


def tensors_in(folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, Entry]]:
    """The file of an adapter's tensors, and these.

    Raises:
      ValueError: no such file, or one that is truncated or foreign.
    """
    path = folder / (WEIGHTS if (folder / WEIGHTS).exists() else PICKLE)
    if not path.exists():
        raise ValueError(f"{folder} holds no adapter; allowed are {WEIGHTS} and {PICKLE}")
    return path, open_file(path)


def by_module(
    entries: Mapping[str, Entry], settings: AdapterConfig
) -> tuple[dict[str, Group], dict[str, Entry], list[str]]:
    """The tensors of adapted modules by path, those that replace the base's, and misfits."""
    groups: dict[str, Group] = {}
    heads, beside, problems = {}, {}, []
    for name, entry in entries.items():
        if _copied(name, entries):
            continue
        place = naming.place(name, settings.peft_type, settings.dora)
        if place is None:
            problems.append(f"{name} is not known here")
        elif place.leaf is None:
            heads[place.path] = entry
        elif place.table is None:
            beside[name] = place, entry
        else:
            group = groups.setdefault(place.path, Group(place.table, {}))
            if group.table is not place.table:
                problems.append(f"{name} stands beside tensors of another kind")
            group.entries[place.leaf] = entry
    for name, (place, entry) in beside.items():
        if place.path in groups:
            groups[place.path].entries[place.leaf] = entry
        else:
            problems.append(f"{name} stands without factors")
    return groups, heads, problems


def _copied(name: str, entries: Mapping[str, Entry]) -> bool:
    """Whether a bias of a module that is stored whole stands there again, or the base's own does:
    bias "all" saves everything with that word in its name."""
    ends = (".modules_to_save.bias", ".original_module.bias")
    return any(name.endswith(e) and name.removesuffix(e) + ".bias" in entries for e in ends)


def _module_problems(groups: dict[str, Group], settings: AdapterConfig, frame: Frame) -> list[str]:
    problems, shapes = [], {}
    for path, group in groups.items():
        table, entries = group
        problems += group_problems(path, group, settings)
        if not {"a", "b"} <= entries.keys() or (settings.dora and "magnitude" not in entries):
            continue
        shapes[path] = tuple(entries[leaf].shape[::-1] for leaf in ("a", "b"))
        if settings.dora:
            shapes[path] += (entries["magnitude"].shape,)
        # PEFT adapts what the configuration names, and would drop these tensors.
        if path in frame.shapes and not targets.adapted(settings, path):
            problems.append(f"{path} has tensors but is none of target_modules")
        kind = frame.embed if table == naming.EMBEDDING else frame.linear
        if path in frame.shapes and path not in kind:
            problems.append(f"{path} has tensors of another kind of module")
    problems += compatibility.adapter_misfits(frame, shapes)
    expected = [path for path in frame.shapes if targets.adapted(settings, path)]
    return problems + [f"tensors of {path} are missing" for path in expected if path not in groups]


def group_problems(path: str, group: Group, settings: AdapterConfig) -> list[str]:
    """What is missing of a module, and what contradicts the configuration, whatever the network."""
    table, entries = group
    expected = {**table, "magnitude": naming.MAGNITUDE} if settings.dora else table
    lacking = [leaf for leaf in expected if leaf not in entries]
    if lacking:
        return [f"{naming.key(path, expected[leaf])} is missing" for leaf in lacking]
    problems = []
    rank = entries["a"].shape[0] if entries["a"].shape else 0
    if "d" in entries and entries["d"].shape != (rank, 1):
        shape = entries["d"].shape
        problems.append(f"lora_E of {path} has shape {shape}; allowed is {(rank, 1)}")
    if rank != settings.rank_of(path):
        problems.append(f"{path} has rank {rank}; its configuration says {settings.rank_of(path)}")
    return problems


def _head_problems(heads: dict[str, Entry], settings: AdapterConfig, frame: Frame) -> list[str]:
    # PEFT saves these too where a vocabulary was resized, or where it is asked to.
    vocabulary = {f"{path}.weight" for path in (*frame.embed, "lm_head")}
    problems = [
        f"{name} is in none of modules_to_save"
        for name in heads
        if not (targets.replaced(settings, name) or targets.trained_bias(settings, name))
        and name not in vocabulary
    ]
    expected = [name for name in frame.leaves if targets.replaced(settings, name)]
    problems += [f"{naming.PREFIX}{name} is missing" for name in expected if name not in heads]
    return problems + compatibility.head_misfits(frame, _shapes(frame, heads))


def _shapes(frame: Frame, entries: dict[str, Entry]) -> dict[str, tuple[int, ...]]:
    """Shapes in our layout, as far as the network has the parameter."""
    turned = {name for name, leaf in frame.leaves.items() if leaf.transposed}
    return {n: e.shape[::-1] if n in turned else e.shape for n, e in entries.items()}


def factors_of(
    path: str, group: Group, settings: AdapterConfig, dtype: Any = None
) -> Factors | Scaled:
    """A module's factors in our layout, all scales folded into a; in the file's dtype, at least
    float32, or in `dtype`."""
    a, b = (_ours(group.entries[leaf], transposed=True) for leaf in ("a", "b"))
    gain = np.float64(settings.scale_of(path, max(a.shape[1], 1)))
    if "d" in group.entries:
        gain = gain * group.entries["d"].read().astype(np.float64)[:, 0]
        live = np.flatnonzero(gain)
        a, b, gain = a[:, live], b[live], gain[live]
    # Rounded once; a gain of 1 changes no bit.
    a, b = (a * gain).astype(dtype or a.dtype), b.astype(dtype or b.dtype, copy=False)
    factors = Factors(np.ascontiguousarray(a), np.ascontiguousarray(b))
    if "magnitude" not in group.entries:
        return factors
    return Scaled(*factors, _ours(group.entries["magnitude"], transposed=False))


def _ours(entry: Entry, transposed: bool) -> np.ndarray:
    value = entry.read()
    if value.dtype != np.float64:
        value = value.astype(np.float32)
    return np.ascontiguousarray(value.T if transposed else value)
