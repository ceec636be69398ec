"""The tables of `launch.adapter`, and the same as entries of a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deflation.problem.spectrum import effective_rank
from finetune.algebra import cutting
from finetune.algebra.cutting import Cut
from finetune.algebra.spectra import Spectrum
from launch.shell.tables import table


def contents(ranks: Mapping[str, int], spectra: Mapping[str, Spectrum]) -> str:
    """What an adapter holds, a line per module."""
    rows = [
        (path, ranks[path], len(s.values), _effective(s), s.norm, ranks[path] * s.cost)
        for path, s in spectra.items()
    ]
    norm = float(np.linalg.norm([s.norm for s in spectra.values()]))
    rows.append(("all", *(sum(row[i] for row in rows) for i in (1, 2)), None, norm))
    rows[-1] += (sum(row[5] for row in rows[:-1]),)
    return table(("module", "rank", "true", "effective", "norm", "parameters"), rows)


def results(ranks: Mapping[str, int], cuts: Mapping[str, Cut]) -> str:
    """What became of each module: ranks before and after, parameters, relative error."""
    rows = [
        (path, ranks[path], one.rank, sum(f.size for f in one.factors), one.relative)
        for path, one in cuts.items()
    ]
    sums = [sum(row[i] for row in rows) for i in (1, 2, 3)]
    rows.append(("all", *sums, cutting.total(cuts)))
    return table(("module", "before", "rank", "parameters", "relative error"), rows)


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


def _effective(spectrum: Spectrum) -> float:
    values = spectrum.values
    return float(effective_rank(values, np)) if len(values) else 0.0
