"""What each action of `launch.adapter` does."""

from __future__ import annotations

import time
from collections.abc import Mapping

from finetune.adapters.method import Factors
from finetune.algebra import cutting, merging, ranks
from finetune.algebra.spectra import Spectrum, spectrum
from finetune.peft import standalone
from finetune.peft.card import Card
from finetune.peft.folders import require_new
from finetune.peft.standalone import Standalone
from launch.adapting import report
from launch.adapting.config import AdapterConfig
from launch.shell.waiting import progress, stage
from rankwise.files import require_writable, write_json


def inspect(config: AdapterConfig) -> None:
    """Prints modules, ranks, norms and effective ranks of an adapter."""
    require_writable(config.json)
    adapter = _read(config.adapter)
    spectra = _spectra(adapter.modules)
    print(report.contents(_ranks(adapter), spectra))
    print(f"base {adapter.config.base}, {adapter.dtype}, {len(adapter.heads)} parameters whole")
    values = {path: one.values for path, one in spectra.items()}
    write_json(config.json, {"ranks": _ranks(adapter), "singular_values": values})


def resize(config: AdapterConfig) -> None:
    """The best adapter of smaller ranks."""
    require_new(config.output)
    _write(config, _read(config.adapter), f"resized from {config.adapter}")


def merge(config: AdapterConfig) -> None:
    """The weighted sum of adapters, all of it or the best of smaller ranks."""
    require_new(config.output)
    weights = [float(text) for text in config.weights] or [1.0] * len(config.adapters)
    adapters = [_read(folder) for folder in config.adapters]
    joined = merging.merged(
        adapters, weights, mean_heads=config.heads == "mean", any_base=config.force
    )
    terms = zip(weights, config.adapters, strict=True)
    _write(config, joined, "sum of " + ", ".join(f"{w:g} x {folder}" for w, folder in terms))


ACTIONS = {"inspect": inspect, "resize": resize, "merge": merge}


def _read(folder: str) -> Standalone:
    with stage(f"reading {folder}"):
        return standalone.read(folder)


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
    require_writable(config.json)
    start = time.perf_counter()
    spectra = _spectra(adapter.modules)
    cuts = cutting.cut(spectra, _chosen(config, spectra), adapter.dtype)
    asked = {name: getattr(config, name) for name in ("rank", "energy", "budget")}
    record = report.record(cuts, spectra, action=config.action, asked=asked)
    record["seconds"] = time.perf_counter() - start
    smaller = adapter._replace(modules={path: one.factors for path, one in cuts.items()})
    note = f"relative error of the cut {record['relative_error']:.3g}; every prefix is the best"
    card = Card(method=method, notes=(note + " adapter of its rank",))
    with stage(f"writing {config.output}"):
        standalone.write(config.output, smaller, card=card, record=record)
    write_json(config.json, record)
    print(report.results(_ranks(adapter), cuts))
    if empty := [path for path, one in cuts.items() if not one.rank]:
        print(f"rank 0, left out of the file: {', '.join(empty)}")
    print(f"{config.action}: {len(cuts) - len(empty)} modules in {config.output}")
