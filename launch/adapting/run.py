"""What each action of `launch.adapter` does."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from finetune.adapters.method import Factors
from finetune.algebra import cutting, extraction, kohya, merging, ranks
from finetune.algebra.cutting import Cut
from finetune.algebra.spectra import Spectrum, spectrum
from finetune.peft import standalone
from finetune.peft.card import Card
from finetune.peft.merging import HEAD
from finetune.peft.standalone import Standalone
from launch.adapting import extracting, on_inputs, report
from launch.adapting.config import AdapterConfig
from launch.shell.waiting import progress, stage
from rankwise.files import write_json

BEST = "every prefix is the best adapter of its rank"
ON_INPUTS = "{prefixes} on the inputs of {files}, shrink {shrink:g}; errors are those on them"
RANDOMISED = "close to the best of its rank, by a randomised method; the error is measured"


def inspect(config: AdapterConfig) -> None:
    """Prints modules, ranks, norms and effective ranks of an adapter."""
    adapter = _read(config, config.adapter)
    spectra = _spectra(adapter.modules)
    print(report.contents(adapter, spectra))
    print(f"base {adapter.config.base}, {adapter.dtype}, {len(adapter.heads)} parameters whole")
    if choices := report.choices(spectra):
        print(f"\nShare of the squared change, by components per module:\n{choices}")
    values = {path: one.values for path, one in spectra.items()}
    write_json(config.json, {"ranks": _ranks(adapter), "singular_values": values})


def resize(config: AdapterConfig) -> None:
    """The best adapter of smaller ranks."""
    adapter, method = _read(config, config.adapter), f"resized from {config.adapter}"
    if config.gram is None:
        return _write(config, adapter, method)
    cuts = on_inputs.resized(adapter, config.gram, _rank(config), config.shrink)
    return _finish(config, adapter, _ranks(adapter), {}, cuts, method, _measured(config))


def merge(config: AdapterConfig) -> None:
    """The weighted sum of adapters, all of it or the best of smaller ranks."""
    weights = [float(text) for text in config.weights] or [1.0] * len(config.adapters)
    adapters = [_read(config, place) for place in config.adapters]
    joined = merging.merged(
        adapters, weights, mean_heads=config.heads == "mean", any_base=config.force
    )
    terms = ", ".join(f"{w:g} x {f}" for w, f in zip(weights, config.adapters, strict=True))
    if not config.grams:
        return _write(config, joined, f"sum of {terms}")
    cuts = on_inputs.merged(joined, adapters, weights, config.grams, _rank(config), config.shrink)
    method = f"nearest on their inputs to {terms}"
    return _finish(config, joined, _ranks(joined), {}, cuts, method, _measured(config))


def extract(config: AdapterConfig) -> None:
    """What a tuned model changed of its base, as the best adapter of the ranks."""
    difference = extracting.difference(config.model, config.base)
    if config.outside == "refuse":
        extracting.refuse_outside(difference)
    before = {path: min(delta.shape) for path, delta in difference.linear.items()}
    saved, biases = difference.whole, difference.biases
    settings = standalone.plain(config.base, saved, biases=bool(biases))
    heads = {**difference.beside, **difference.outside}
    adapter = Standalone({}, frozenset(), heads, "float32", settings)
    method = f"extracted from {config.model}"
    if difference.outside:
        count, share = len(difference.outside), difference.share
        more = [f"{len(saved) - 3} more"] if len(saved) > 3 else []
        where = [*saved[:3], *more, *([f"{len(biases)} biases"] if biases else [])]
        print(f"{count} parameters whole, {share:.2g} of the squared change: {', '.join(where)}")
    if (pathlib.Path(config.model) / HEAD).exists():  # of a merged export, under no model's names
        print(f"{HEAD} of --model={config.model} is no part of the adapter: keep it beside it")
    if config.gram is not None:
        cuts = on_inputs.extracted(difference.linear, config.gram, _rank(config), config.shrink)
        return _finish(config, adapter, before, {}, cuts, method, _measured(config))
    by_rank = config.rank not in (None, "exact")
    changes = {}
    for path, delta in progress(difference.linear.items(), len(difference.linear), "modules"):
        one = extraction.leading(delta, int(config.rank)) if by_rank else extraction.whole(delta)
        changes[path] = one
    spectra = {path: one.spectrum if by_rank else one for path, one in changes.items()}
    cuts = cutting.cut(spectra, _chosen(config, spectra))
    if by_rank:  # spectra are of projections, whose tails are not what is missed
        cuts = {
            p: c._replace(error=changes[p].error, norm=changes[p].norm) for p, c in cuts.items()
        }
    how = RANDOMISED if by_rank else BEST
    return _finish(config, adapter, before, spectra, cuts, method, how)


ACTIONS = {"inspect": inspect, "resize": resize, "merge": merge, "extract": extract}


def _read(config: AdapterConfig, place: str) -> Standalone:
    with stage(f"reading {place}"):
        if kohya.is_kohya(place):
            return kohya.read(place, config.component)
        return standalone.read(place, keep_magnitude=config.keep_magnitude)


def _rank(config: AdapterConfig) -> int:
    return on_inputs.ALL if config.rank == "exact" else int(config.rank)


def _measured(config: AdapterConfig) -> str:
    files = ", ".join((config.gram,) if config.gram else config.grams)
    return ON_INPUTS.format(prefixes=BEST, files=files, shrink=config.shrink)


def _ranks(adapter: Standalone) -> dict[str, int]:
    return {path: factors.a.shape[1] for path, factors in adapter.modules.items()}


def _spectra(modules: Mapping[str, Factors]) -> dict[str, Spectrum]:
    items = progress(modules.items(), len(modules), "modules")
    return {path: spectrum(factors) for path, factors in items}


def _chosen(config: AdapterConfig, spectra: Mapping[str, Spectrum]) -> dict[str, int]:
    if config.energy is not None:
        return ranks.of_energy(spectra, config.energy)
    if config.budget is not None:
        return ranks.of_budget(spectra, config.budget)
    if config.rank in (None, "exact"):
        return {path: len(one.values) for path, one in spectra.items()}
    return ranks.of_rank(spectra, int(config.rank))


def _write(config: AdapterConfig, adapter: Standalone, method: str) -> None:
    """Cuts the adapter to the ranks that the flags ask for, and writes and shows it."""
    spectra = _spectra(adapter.modules)
    cuts = cutting.cut(spectra, _chosen(config, spectra), adapter.dtype)
    _finish(config, adapter, _ranks(adapter), spectra, cuts, method, BEST)


def _finish(
    config: AdapterConfig,
    adapter: Standalone,
    before: Mapping[str, int],
    spectra: Mapping[str, Spectrum],
    cuts: Mapping[str, Cut],
    method: str,
    how: str,
) -> None:
    """Writes the folder and the files, and prints the table."""
    asked = {name: getattr(config, name) for name in ("rank", "energy", "budget")}
    record = report.record(cuts, spectra, action=config.action, asked=asked)
    modules = {path: one.factors for path, one in cuts.items()}
    if config.pad:
        modules = {path: _padded(factors, int(config.rank)) for path, factors in modules.items()}
    elif adapter.magnitudes:  # which PEFT keeps beside factors only
        modules = {path: _padded(factors, 1) for path, factors in modules.items()}
    smaller = adapter._replace(modules=modules)
    card = Card(
        method=method, notes=(f"relative error of the cut {record['relative_error']:.3g}; {how}",)
    )
    with stage(f"writing {config.output}"):
        standalone.write(config.output, smaller, card=card, record=record)
    write_json(config.json, record)
    print(report.results(before, cuts))
    if empty := [path for path, factors in modules.items() if not factors.a.shape[1]]:
        print(f"rank 0, left out of the file: {', '.join(empty)}")
    print(f"{config.action}: {len(cuts) - len(empty)} modules in {config.output}")


def _padded(factors: Factors, rank: int) -> Factors:
    """The same map in at least `rank` components."""
    missing = (0, max(rank - factors.a.shape[1], 0))
    return Factors(np.pad(factors.a, ((0, 0), missing)), np.pad(factors.b, (missing, (0, 0))))
