"""An adapter's folder by itself, without the network it belongs to: read and written."""

from __future__ import annotations

import os
import pathlib
import types
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from finetune.adapters.method import Factors, Scaled
from finetune.peft import compatibility, naming, reading, targets
from finetune.peft.card import Card, render
from finetune.peft.config import FILE, AdapterConfig, parse, read_config
from finetune.peft.export import WEIGHTS, settings_of, write_json
from rankwise.folders import new_folder

REMEDY = "merge it into its base with PEFT, and take `launch.adapter extract` of the two models"
FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float32": np.float32}
FLOATS["float64"] = np.float64


class Standalone(NamedTuple):
    """What an adapter's folder says by itself.

    Attributes:
      modules: module path -> a (in, r), b (r, out) in float64, all scales folded into a.
      tables: the paths among them of embeddings, whose tensors have names of their own.
      heads: torch name -> what replaces the base's parameter, in torch's layout and as stored; of
        an adapted module too, under the name that it has in the base.
      dtype: of the file's factors, the widest.
      config: what adapter_config.json says.
      magnitudes: module path -> DoRA's lengths (out,); empty for all others.
      kernels: path of a convolution -> (channels, height, width) of its kernel, whose product is
        the `in` of its factors: they act on patches.
    """

    modules: dict[str, Factors]
    tables: frozenset[str]
    heads: dict[str, np.ndarray]
    dtype: str
    config: AdapterConfig
    magnitudes: Mapping[str, np.ndarray] = types.MappingProxyType({})
    kernels: Mapping[str, tuple[int, ...]] = types.MappingProxyType({})

    def is_bias(self, name: str) -> bool:
        """Whether a parameter among the heads is a bias of the base that was trained beside."""
        return targets.trained_bias(self.config, name)


def read(folder: str | os.PathLike, *, keep_magnitude: bool = False) -> Standalone:
    """The adapter in a folder: LoRA with any ranks, alphas, rsLoRA and biases, or AdaLoRA.

    The factors of a convolution are those of its matrix (out, channels height width).

    Args:
      folder: in PEFT's format.
      keep_magnitude: read DoRA too, its factors and its magnitudes apart: what is then done to the
        factors knows nothing of the magnitudes.

    Raises:
      ValueError: one line with the file: another kind of adapter, DoRA (its change is not linear in
        the factors and has full rank), convolutions whose second factor is wider than 1, tensors
        that are missing, not known or contradict the configuration, NaN or infinity.

    Example:
      >>> read("adapters/cola").modules["encoder.layer.0.query"].a.shape  # doctest: +SKIP
      (768, 8)
    """
    folder = pathlib.Path(folder)
    settings = _linear(folder, keep_magnitude)
    path, entries = reading.tensors_in(folder)
    groups, heads, problems = reading.by_module(entries, settings)
    kernels = {path: kernel for path, group in groups.items() if (kernel := _flattened(group))}
    for module, group in groups.items():
        problems += reading.group_problems(module, group, settings) or _misfits(module, group)
        if not targets.adapted(settings, module):
            problems.append(f"{module} has tensors but is none of target_modules")
    if not groups:
        problems.append("it holds no factors")
    compatibility.refuse(str(path), problems)
    numbers = {name: entry.read() for name, entry in entries.items()}
    compatibility.refuse(str(path), compatibility.number_misfits(numbers))
    heads |= {f"{p}.weight": g.entries["base"] for p, g in groups.items() if "base" in g.entries}
    changes = {p: reading.factors_of(p, g, settings, np.float64) for p, g in sorted(groups.items())}
    return Standalone(
        {path: Factors(change.a, change.b) for path, change in changes.items()},
        frozenset(p for p, g in groups.items() if g.table == naming.EMBEDDING),
        {name: entry.read() for name, entry in sorted(heads.items())},
        widest(g.entries["a"].dtype for g in groups.values()),
        settings,
        {path: c.magnitude for path, c in changes.items() if isinstance(c, Scaled)},
        kernels,
    )


def write(
    folder: str | os.PathLike,
    adapter: Standalone,
    *,
    card: Card | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Writes a plain LoRA that PEFT loads into a new folder, which appears whole or not at all.

    With magnitudes it is a DoRA, of which every module needs a rank of 1 or more.

    Ranks are in rank_pattern, alphas equal to them, so that every scale is one; modules of rank 0
    are left out, as PEFT refuses them. Factors have the adapter's dtype.

    Args:
      folder: must not exist.
      adapter: what is written; of its config the base, the task and modules_to_save.
      card: what the model card says beyond ranks and base.
      record: the entries of compression.json beside the tensors; None for no such file.

    Raises:
      ValueError: the folder exists, or paths that PEFT's patterns cannot tell apart.
    """
    ranks = {path: factors.a.shape[1] for path, factors in adapter.modules.items()}
    config = adapter.config
    settings = settings_of(
        {path: rank for path, rank in ranks.items() if rank},
        base=config.base,
        revision=config.revision,
        task_type=config.task_type,
        modules_to_save=config.raw.get("modules_to_save") or (),
        dora=bool(adapter.magnitudes),
    )
    # Of the base's layout alone: the factors of a transposed kernel are stored as all others.
    settings["fan_in_fan_out"] = bool(config.raw.get("fan_in_fan_out"))
    settings["bias"] = config.raw.get("bias") or "none"
    readme = render(
        card or Card(),
        ranks,
        form="peft",
        base=config.base or "the base model",
        revision=config.revision,
        labels=0 if config.task_type in ("CAUSAL_LM", "SEQ_2_SEQ_LM") else None,
        task_type=config.task_type,
        parameters=sum(factor.size for pair in adapter.modules.values() for factor in pair),
    )
    with new_folder(folder) as part:
        save_file(_tensors(adapter), part / WEIGHTS, metadata={"format": "pt"})
        write_json(part / FILE, settings)
        if record is not None:
            write_json(part / "compression.json", record)
        (part / "README.md").write_text(readme, encoding="utf-8")


def plain(
    base: str | None, modules_to_save: Sequence[str] = (), biases: bool = False
) -> AdapterConfig:
    """The configuration of a new adapter; `biases`: it has some of modules that are not saved."""
    raw = {"peft_type": "LORA", "base_model_name_or_path": base}
    raw |= {"modules_to_save": list(modules_to_save) or None, "bias": "all" if biases else "none"}
    return parse(raw)


def rounded(factors: Factors, dtype: str) -> Factors:
    """The factors as a file of that dtype holds them."""
    return Factors(*(np.asarray(factor).astype(FLOATS[dtype]) for factor in factors))


def widest(names) -> str:
    """The dtype that holds all of these; float32 of float16 and bfloat16.

    Example:
      >>> widest(["float16", "float32"]), widest(["bfloat16", "float16"])
      ('float32', 'float32')
    """
    names = set(names)
    if names == {"float16", "bfloat16"}:
        return "float32"
    return max(names, key=list(FLOATS).index)


def _linear(folder: pathlib.Path, keep_magnitude: bool) -> AdapterConfig:
    try:
        settings = read_config(folder)
    except ValueError as error:
        known = "cannot be read" in str(error) or "JSON" in str(error)
        raise ValueError(str(error) if known else f"{error}; {REMEDY}") from None
    if settings.dora and not keep_magnitude:
        raise ValueError(
            f"{folder / FILE}: use_dora is true; the change of DoRA is not linear in its factors "
            f"and has full rank: {REMEDY}; or `resize --keep_magnitude` its factors alone"
        )
    return settings


def _misfits(path: str, group: reading.Group) -> list[str]:
    a, b = (group.entries[leaf].shape for leaf in ("a", "b"))
    if len(a) == len(b) == 2 and a[0] == b[1]:
        return []
    kind = "a convolution" if len(a) > 2 else "a map"
    return [
        f"{path} is {kind} with factors of shapes {a} and {b}; allowed are matrices (r, in) and "
        "(out, r), and kernels (r, in, ...) and (out, r, 1, ...)"
    ]


def _flattened(group: reading.Group) -> tuple[int, ...]:
    """Makes matrices of the factors of a convolution; the shape of a kernel, () of other maps.

    One whose second factor is wider than 1 is no product of matrices, and stays as it is.
    """
    first, second = (group.entries.get(leaf) for leaf in ("a", "b"))
    if first is None or second is None or not len(first.shape) == len(second.shape) > 2:
        return ()
    if set(second.shape[2:]) != {1}:
        return ()
    for leaf, entry in (("a", first), ("b", second)):
        shape = entry.shape[0], int(np.prod(entry.shape[1:]))
        group.entries[leaf] = entry._replace(
            shape=shape, read=lambda e=entry, s=shape: e.read().reshape(s)
        )
    return first.shape[1:]


def _tensors(adapter: Standalone) -> dict[str, np.ndarray]:
    tensors, based = {}, set()
    for path, factors in adapter.modules.items():
        if factors.a.shape[1]:  # PEFT knows no rank 0
            based.add(path)
            table = naming.EMBEDDING if path in adapter.tables else naming.LINEAR
            kernel = adapter.kernels.get(path, ())
            a, b = (np.ascontiguousarray(f.T) for f in rounded(factors, adapter.dtype))
            if kernel:
                a, b = a.reshape(-1, *kernel), b.reshape(*b.shape, *(1 for _ in kernel[1:]))
            tensors |= {naming.key(path, table["a"]): a, naming.key(path, table["b"]): b}
    for path, value in adapter.magnitudes.items():
        tensors[naming.key(path, naming.MAGNITUDE)] = value.astype(FLOATS[adapter.dtype])
    for name, value in adapter.heads.items():
        path, _, leaf = name.rpartition(".")
        # What an adapted module has of its own stands under another name.
        place = f"{path}.base_layer.{leaf}" if path in based else name
        tensors[naming.PREFIX + place] = np.ascontiguousarray(value)
    return tensors
