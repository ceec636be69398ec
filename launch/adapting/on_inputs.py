"""--gram and --grams: cuts, merges and extractions whose error counts on the maps' inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from finetune.adapters.method import Factors
from finetune.algebra import weighted
from finetune.algebra.cutting import HALVES, Cut
from finetune.algebra.weighted import Weighted
from finetune.compression import directions, gram_files
from finetune.peft.standalone import Standalone, rounded
from launch.shell.waiting import progress

ALL = 1 << 30  # a rank that no map has


def resized(adapter: Standalone, file: str, rank: int, shrink: float) -> dict[str, Cut]:
    """min ||X (a b - D')|| of every module, X its inputs."""
    return _each(
        adapter.modules,
        _read([file], adapter.modules, shrink),
        lambda path, grams: [(adapter.modules[path], grams[0])],
        rank,
        adapter.dtype,
    )


def merged(
    joined: Standalone,
    adapters: Sequence[Standalone],
    weights: Sequence[float],
    files: Sequence[str],
    rank: int,
    shrink: float,
) -> dict[str, Cut]:
    """min sum_i w_i ||X_i (a_i b_i - D')||^2 of every module that an adapter changes."""

    def terms(path, grams):
        size_in, size_out = joined.modules[path].a.shape[0], joined.modules[path].b.shape[1]
        nothing = Factors(np.zeros((size_in, 0)), np.zeros((0, size_out)))
        changes = [adapter.modules.get(path, nothing) for adapter in adapters]
        scaled = [weight * gram for weight, gram in zip(weights, grams, strict=True)]
        return list(zip(changes, scaled, strict=True))

    return _each(joined.modules, _read(files, joined.modules, shrink), terms, rank, joined.dtype)


def extracted(
    changes: Mapping[str, np.ndarray], file: str, rank: int, shrink: float
) -> dict[str, Cut]:
    """min ||X (D - a b)|| of every change D (in, out)."""
    grams = _read([file], changes, shrink)
    cuts = {}
    for path, delta in progress(changes.items(), len(changes), "modules"):
        gram = grams[path][0]
        best = directions.leading(delta, gram)
        errors = np.sqrt(best.errors(gram))
        factors = rounded(best.factors(rank), "float32")
        cuts[path] = Cut(factors, float(errors[factors.a.shape[1]]), float(errors[0]))
    return cuts


def _each(paths, grams, terms: Callable, rank: int, dtype: str) -> dict[str, Cut]:
    cuts = {}
    for path in progress(paths, len(paths), "modules"):
        changes, own = zip(*terms(path, grams[path]), strict=True)
        if len(changes) == 1:
            best = weighted.resized(changes[0], own[0], rank)
        else:
            best = weighted.merged(changes, own, rank)
        cuts[path] = _cut(best, changes, own, dtype)
    return cuts


def _cut(best: Weighted, changes, grams, dtype: str) -> Cut:
    norm = float(best.errors[0])
    factors = rounded(best.factors, dtype)
    if not norm:  # nothing comes through on these inputs
        factors = Factors(factors.a[:, :0], factors.b[:0])
    error = float(best.errors[-1])
    if dtype in HALVES:
        error = weighted.distance(changes, grams, factors)
    return Cut(factors, error, norm)


def _read(files: Sequence[str], paths, shrink: float) -> dict[str, list[np.ndarray]]:
    """Path -> S of every file, with shrink tr(S) / in added to its diagonal."""
    read = [gram_files.read(file, paths) for file in files]
    grams = {}
    for path in paths:
        try:
            grams[path] = [
                directions.metric(one[path], shrink=shrink) * np.trace(one[path]) for one in read
            ]
        except ValueError as error:
            raise ValueError(f"inputs of {path}: {error}") from None
    return grams
