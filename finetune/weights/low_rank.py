"""Kernels of low rank in a checkpoint: named apart from whole ones, and multiplied out when read.

Torch's layout: W (out, in) under NAME.weight is one of
  NAME.low_rank.b (out, r), NAME.low_rank.a (r, in): W = b a;
  NAME.pivot.columns (out, r), NAME.pivot.rest (r, in - r), NAME.pivot.order (in,): the columns
    order[:r] of W are `columns`, the columns order[r:] are columns rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from finetune.weights.entries import Entry

PREFIX = "rankwise_"
"""Before the model_type of a config.json, so that no other program fills such maps at random."""
RANKS = "low_rank"
LOADERS = {
    "AutoConfig": "modeling_rankwise.RankwiseConfig",
    "AutoModel": "modeling_rankwise.RankwiseModel",
    "AutoModelForCausalLM": "modeling_rankwise.RankwiseForCausalLM",
}
"""For transformers, with trust_remote_code: classes of a file beside config.json."""
FACTORS = (".low_rank.b", ".low_rank.a")
PIVOT = (".pivot.columns", ".pivot.rest", ".pivot.order")


def expanded(entries: dict[str, Entry]) -> dict[str, Entry]:
    """The entries with NAME.weight in place of the parts of a kernel.

    Raises:
      ValueError: a part is missing, or does not fit the others.
    """
    rest = dict(entries)
    for parts, product in ((FACTORS, _factors), (PIVOT, _pivot)):
        for name in [n.removesuffix(parts[0]) for n in entries if n.endswith(parts[0])]:
            if missing := [name + part for part in parts if name + part not in entries]:
                raise ValueError(f"{missing[0]} is missing beside {name}{parts[0]}")
            rest[f"{name}.weight"] = product(name, *(rest.pop(name + part) for part in parts))
    return rest


def plain(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries of config.json as they were before the kernels were compressed."""
    kind = entries.get("model_type")
    if not (isinstance(kind, str) and kind.startswith(PREFIX)):
        return entries
    others = {name: value for name, value in entries.items() if name not in (RANKS, "auto_map")}
    names = [name.removeprefix(PREFIX) for name in entries.get("architectures") or ()]
    return {**others, "model_type": kind.removeprefix(PREFIX), "architectures": names}


def marked(entries: dict[str, Any], ranks: dict[str, int]) -> dict[str, Any]:
    """The reverse of `plain`.

    Example:
      >>> entries = {"model_type": "bert", "architectures": ["BertModel"]}
      >>> marked(entries, {"fc": 1})["model_type"], plain(marked(entries, {"fc": 1})) == entries
      ('rankwise_bert', True)
    """
    names = [PREFIX + name for name in entries.get("architectures") or ()]
    kind = PREFIX + entries["model_type"]
    changed = {"model_type": kind, "architectures": names, RANKS: ranks, "auto_map": LOADERS}
    return {**entries, **changed}


def _factors(name: str, b: Entry, a: Entry) -> Entry:
    if len(b.shape) != 2 or len(a.shape) != 2 or b.shape[1] != a.shape[0]:
        raise ValueError(f"{name}.low_rank has shapes {b.shape} and {a.shape}; allowed are factors")

    def read():
        left, right = (entry.read().astype(np.float32) for entry in (b, a))
        return (left @ right).astype(b.dtype)

    return Entry((b.shape[0], a.shape[1]), b.dtype, read)


def _pivot(name: str, columns: Entry, rest: Entry, order: Entry) -> Entry:
    shapes = columns.shape, rest.shape, order.shape
    size = sum(rest.shape)
    if list(map(len, shapes)) != [2, 2, 1] or (columns.shape[1], size) != (
        rest.shape[0],
        *order.shape,
    ):
        raise ValueError(f"{name}.pivot has shapes {shapes}; allowed are columns, rest and order")

    def read():
        places = order.read()
        if not np.array_equal(np.sort(places), np.arange(size)):
            raise ValueError(f"{name}.pivot.order is no permutation of {size} columns")
        left, right = (entry.read().astype(np.float32) for entry in (columns, rest))
        whole = np.empty((len(left), size), np.float32)
        whole[:, places] = np.concatenate([left, left @ right], axis=1)
        return whole.astype(columns.dtype)

    return Entry((columns.shape[0], size), columns.dtype, read)
