"""Adapters in the layout of kohya's scripts: one file, module names with underscores for dots.

    lora_unet_{path}.lora_down.weight   A^T (r, in)
    lora_unet_{path}.lora_up.weight     B^T (out, r)
    lora_unet_{path}.alpha              a number, r where it is missing; the scale is alpha / r

Before the path stands the network that it is of: unet, te (a text encoder), te1 or te2. Which
underscores were dots is not in the file: words of diffusers and transformers that have underscores
of their own are known here.

Source: kohya-ss/sd-scripts, networks/lora.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

import numpy as np

from finetune.adapters.method import Factors
from finetune.peft import compatibility
from finetune.peft.standalone import Standalone, plain, widest
from finetune.weights.entries import Entry
from finetune.weights.files import open_safetensors

SUFFIX = ".safetensors"
NAME = re.compile(r"lora_(unet|te\d?|transformer)_(.+)\.(lora_down\.weight|lora_up\.weight|alpha)")
WORDS = (
    *("text_model", "self_attn", "down_blocks", "up_blocks", "mid_block", "transformer_blocks"),
    *("input_blocks", "output_blocks", "middle_block", "proj_in", "proj_out", "add_embedding"),
    *("time_embedding", "time_emb_proj", "conv_in", "conv_out", "conv_shortcut", "linear_1"),
    *("to_q", "to_k", "to_v", "to_out", "q_proj", "k_proj", "v_proj", "o_proj", "out_proj"),
    *("gate_proj", "up_proj", "down_proj", "linear_2", "single_transformer_blocks"),
)
DOWN, UP, ALPHA = "lora_down.weight", "lora_up.weight", "alpha"


def is_kohya(path: str | os.PathLike) -> bool:
    """Whether a path is meant as such a file: PEFT's adapters are folders."""
    return os.fspath(path).endswith(SUFFIX)


def read(path: str | os.PathLike, component: str | None = None) -> Standalone:
    """The adapter of one network in a file.

    Args:
      path: a .safetensors file.
      component: "unet", "te", ...; None where the file has one.

    Raises:
      ValueError: one line with the file: tensors of other kinds (LoHa, LoKr, DoRA, a second kernel
        that is wider than 1), parts that are missing or do not fit, NaN, several networks without
        a choice.

    Example:
      >>> read("style.safetensors", "unet").config.base is None  # doctest: +SKIP
      True
    """
    entries = open_safetensors(path)
    strangers = [f"{name} is not known here" for name in entries if not NAME.fullmatch(name)]
    compatibility.refuse(os.fspath(path), strangers)
    groups: dict[tuple[str, str], dict[str, Entry]] = {}
    for name, entry in entries.items():
        network, module, leaf = NAME.fullmatch(name).groups()
        groups.setdefault((network, module), {})[leaf] = entry
    chosen = _chosen(path, [network for network, _ in groups], component)
    groups = {key: group for key, group in groups.items() if key[0] == chosen}
    problems = [p for (_, module), g in groups.items() for p in _misfits(module, g)]
    compatibility.refuse(os.fspath(path), problems)
    modules = {dotted(module): _factors(group) for (_, module), group in sorted(groups.items())}
    numbers = {f"{p}.{n}": leaf for p, f in modules.items() for n, leaf in f._asdict().items()}
    compatibility.refuse(os.fspath(path), compatibility.number_misfits(numbers))
    dtype = widest(group[DOWN].dtype for group in groups.values())
    shapes = {dotted(module): group[DOWN].shape[1:] for (_, module), group in groups.items()}
    kernels = {path: shape for path, shape in shapes.items() if len(shape) > 1}
    return Standalone(modules, frozenset(), {}, dtype, plain(None), kernels=kernels)


def dotted(name: str) -> str:
    """A module's path from its flat name.

    Example:
      >>> dotted("down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0")
      'down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_out.0'
    """
    words = "|".join(sorted(WORDS, key=len, reverse=True))
    return ".".join(re.findall(rf"(?:{words})(?=_|$)|[^_]+", name))


def _chosen(path, networks: Iterable[str], component: str | None) -> str:
    there = sorted(set(networks))
    if component is None and len(there) == 1:
        return there[0]
    if component not in there:
        said = "None" if component is None else repr(component)
        raise ValueError(
            f"{os.fspath(path)}: component is {said}; allowed are {', '.join(there) or 'none'}: "
            "an adapter of PEFT belongs to one network, choose by --component"
        )
    return component


def _misfits(module: str, group: dict[str, Entry]) -> list[str]:
    if missing := [leaf for leaf in (DOWN, UP) if leaf not in group]:
        return [f"{module}.{missing[0]} is missing"]
    down, up = group[DOWN].shape, group[UP].shape
    if len(down) != len(up) or len(down) not in (2, 4) or any(size != 1 for size in up[2:]):
        allowed = "linear maps, and kernels of which the second is 1 x 1"
        return [f"{module} has shapes {down} and {up}; allowed are {allowed}"]
    if down[0] != up[1]:
        return [f"{module} has shapes {down} and {up}, of two ranks"]
    if ALPHA in group and int(np.prod(group[ALPHA].shape)) != 1:
        return [f"{module}.alpha has shape {group[ALPHA].shape}; allowed is one number"]
    return []


def _factors(group: dict[str, Entry]) -> Factors:
    down, up = (group[leaf].read().astype(np.float64) for leaf in (DOWN, UP))
    rank = down.shape[0]
    alpha = float(group[ALPHA].read().reshape(())) if ALPHA in group else rank
    down, up = down.reshape(rank, -1), up.reshape(-1, rank)
    return Factors(down.T * (alpha / rank), up.T)
