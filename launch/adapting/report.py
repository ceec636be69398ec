"""The tables of `launch.adapter`, and the same as entries of a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deflation.problem.spectrum import effective_rank
from finetune.algebra import cutting
from finetune.algebra.cutting import Cut
from finetune.algebra.spectra import Spectrum
from finetune.peft.standalone import FLOATS, Standalone
from finetune.ranks.headroom import headroom
from launch.shell.tables import table


def contents(adapter: Standalone, spectra: Mapping[str, Spectrum]) -> str:
    """What an adapter holds, a line per module."""
    rows, size = [], np.dtype(FLOATS[adapter.dtype]).itemsize
    for path, own in spectra.items():
        rank = adapter.modules[path].a.shape[1]
        numbers = rank * own.cost
        parts = _true(own), _effective(own), own.norm, numbers, size * numbers
        rows.append((path, rank, _scale(adapter, path), *parts))
    norm = float(np.linalg.norm([own.norm for own in spectra.values()]))
    rank, true, numbers, octets = (sum(row[i] for row in rows) for i in (1, 3, 6, 7))
    rows.append(("all", rank, None, true, None, norm, numbers, octets))
    header = ("module", "rank", "scale", "true", "effective", "norm", "parameters", "bytes")
    return table(header, rows)


def _true(own: Spectrum) -> int:
    """Singular values that are more than rounding of the largest."""
    return int(np.sum(own.values > np.finfo(np.float32).eps * np.max(own.values, initial=0)))


def results(ranks: Mapping[str, int], cuts: Mapping[str, Cut]) -> str:
    """What became of each module: ranks before and after, parameters, relative error."""
    rows = [
        (path, ranks[path], one.rank, sum(f.size for f in one.factors), one.relative)
        for path, one in cuts.items()
    ]
    sums = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    rows.append(("all", *sums, cutting.total(cuts)))
    return table(("module", "before", "rank", "parameters", "relative error"), rows)


def choices(spectra: Mapping[str, Spectrum]) -> str:
    """What equal ranks hold of the change and what the best as large ones would, a line per rank.

    "" where ranks are not chosen: of one module, or of rank 1.
    """
    values = {path: own.values for path, own in spectra.items()}
    most = max((len(own) for own in values.values()), default=0)
    if len(values) < 2 or most < 2:
        return ""
    rows = []
    for power in range(most.bit_length()):
        if (rank := 2**power) < most:
            room = headroom(values, rank)
            rows.append((rank, rank * len(values), room.equal, room.best, room.left))
    header = ("rank", "components", "equal ranks hold", "the best hold", "and leave, of what equal")
    return table(header, rows)


def record(cuts: Mapping[str, Cut], spectra: Mapping[str, Spectrum], **about) -> dict:
    """The entries of compression.json; modules without a spectrum have no singular values."""
    modules = {
        path: {
            "rank": one.rank,
            "parameters": sum(factor.size for factor in one.factors),
            "relative_error": one.relative,
            "norm": one.norm,
            **({"singular_values": spectra[path].values.tolist()} if path in spectra else {}),
        }
        for path, one in cuts.items()
    }
    parameters = sum(module["parameters"] for module in modules.values())
    return {
        **about,
        "parameters": parameters,
        "relative_error": cutting.total(cuts),
        "modules": modules,
    }


def _scale(adapter: Standalone, path: str) -> float | None:
    """What was folded into the factors; None where the file's format has no alpha for all."""
    if adapter.config.raw.get("lora_alpha") is None:
        return None
    return adapter.config.scale_of(path, max(adapter.modules[path].a.shape[1], 1))


def _effective(spectrum: Spectrum) -> float:
    values = spectrum.values
    return float(effective_rank(values, np)) if len(values) else 0.0
