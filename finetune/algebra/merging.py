"""A weighted sum of adapters: what they must share, and what becomes of parameters saved whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finetune.adapters.method import Factors
from finetune.algebra import spectra
from finetune.peft.compatibility import refuse
from finetune.peft.standalone import Standalone, widest
from rankwise import checks


def merged(
    adapters: Sequence[Standalone],
    weights: Sequence[float],
    *,
    mean_heads: bool = False,
    any_base: bool = False,
) -> Standalone:
    """sum_i w_i a_i b_i of every module, exactly: factors of the sum of the ranks.

    A module that an adapter lacks counts as zero there. Cut the result, not what goes in: the
    error of a merge of cut adapters is larger.

    Args:
      adapters: at least one; their modules, ranks and scales may differ.
      weights: one for each, of any sign.
      mean_heads: of parameters that differ, of heads and norms, take sum_i w_i p_i / sum_i w_i;
        else they are refused, but for biases of the base where the weights sum to 1.
      any_base: also where the adapters name different base models.

    Raises:
      ValueError: no adapter, another number of weights, other base models, shapes or heads.

    Example:
      >>> from finetune.peft.standalone import plain
      >>> one = {"fc": Factors(np.ones((2, 1)), np.ones((1, 2)))}
      >>> adapter = Standalone(one, frozenset(), {}, "float32", plain("base"))
      >>> both = merged([adapter, adapter], [0.7, 0.3]).modules["fc"]
      >>> (both.a @ both.b).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    if not adapters or len(weights) != len(adapters):
        raise ValueError(
            f"weights are {len(weights)} numbers for {len(adapters)} adapters; allowed is one each"
        )
    for weight in weights:
        checks.real("weights", weight)
    bases = list(dict.fromkeys(str(adapter.config.base) for adapter in adapters))
    if len(bases) > 1 and not any_base:
        raise ValueError(f"the adapters belong to {' and '.join(bases)}; allowed is one base model")
    paths = sorted({path for adapter in adapters for path in adapter.modules})
    refuse("merge", [problem for path in paths for problem in _misfits(path, adapters)])
    modules = {}
    for path in paths:
        pairs = [
            (adapter.modules[path], weight)
            for adapter, weight in zip(adapters, weights, strict=True)
            if path in adapter.modules
        ]
        modules[path] = spectra.joined(*zip(*pairs, strict=True))
    return adapters[0]._replace(
        modules=modules,
        tables=frozenset().union(*(adapter.tables for adapter in adapters)),
        kernels={path: k for adapter in adapters for path, k in adapter.kernels.items()},
        heads=_heads(adapters, weights, mean_heads),
        dtype=widest(adapter.dtype for adapter in adapters),
    )


def _misfits(path: str, adapters: Sequence[Standalone]) -> list[str]:
    there = [adapter for adapter in adapters if path in adapter.modules]
    shapes = dict.fromkeys(_sizes(adapter.modules[path]) for adapter in there)
    kinds = {path in adapter.tables for adapter in there}
    kernels = {adapter.kernels.get(path, ()) for adapter in there}
    if len(kernels) > 1:
        return [f"{path} has kernels {' and '.join(map(str, sorted(kernels)))} (channels, size)"]
    if len(shapes) > 1:
        text = " and ".join(map(str, shapes))
        return [f"{path} maps {text} (in, out); allowed are equal sizes"]
    return [f"{path} is an embedding in one and a linear map in another"] if len(kinds) > 1 else []


def _sizes(factors: Factors) -> tuple[int, int]:
    return factors.a.shape[0], factors.b.shape[1]


def _changes_add_up(name: str, adapters: Sequence[Standalone], total: float) -> bool:
    """Of biases of one base sum_i w_i b_i is b_0 + sum_i w_i (b_i - b_0) where the w_i sum to 1."""
    return abs(total - 1) < 1e-9 and any(adapter.is_bias(name) for adapter in adapters)


def _heads(adapters, weights, mean: bool) -> dict[str, np.ndarray]:
    heads, problems, total = {}, [], float(sum(weights))
    for name in sorted({name for adapter in adapters for name in adapter.heads}):
        values = [adapter.heads.get(name) for adapter in adapters]
        first = next(value for value in values if value is not None)
        if all(value is not None and np.array_equal(value, first) for value in values):
            heads[name] = first
        elif any(value is None or value.shape != first.shape for value in values):
            problems.append(f"{name} is missing in an adapter, or of another shape")
        elif not mean and not _changes_add_up(name, adapters, total):
            problems.append(f"{name} differs between the adapters; --heads=mean takes the mean")
        elif not total:
            problems.append(f"{name} differs and the weights sum to 0, so that it has no mean")
        else:
            pairs = zip(values, weights, strict=True)
            mean_of = sum(w * value.astype(np.float64) for value, w in pairs) / total
            heads[name] = mean_of.astype(first.dtype)
    refuse("merge", problems)
    return heads
