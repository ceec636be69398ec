"""Each suite of `launch.benchmark` as (configuration, threads) -> (rows, note)."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re

from launch.bench.config import NO_MODEL, BenchmarkConfig
from rankwise.files import write_json


def decompose(
    config: BenchmarkConfig, threads: int, names: tuple[str, ...] | None = None
) -> tuple[list[dict], str]:
    """Time to an error, beside other ways to the leading components of a matrix: `names` of
    decompose_methods.COMPETITORS, or all of them."""
    import threadpoolctl

    from launch.bench import decompose_picture, decompose_rates, decompose_suite
    from rankwise.plots.files import save as save_figure

    size, rows, points = config.size, [], {}
    every = decompose_suite.cases(size, config.data_dir, config.model)
    chosen, rates = (
        {name: case for name, case in cases.items() if re.search(config.cases, name)}
        for cases in (every, decompose_rates.cases(size))
    )
    if not chosen and not rates:
        raise ValueError(
            f"cases is {config.cases!r}; allowed is what is found in a name such as "
            f"{next(iter(every))!r}"
        )
    if config.figure is not None and not any(one.spectrum for one in chosen.values()):
        raise ValueError(
            f"figure is {config.figure!r}; allowed with these cases is none, as it shows matrices "
            f"of the spectra {', '.join(decompose_suite.SPECTRA)}"
        )
    limit = decompose_suite.SIZES[size][1]
    tries = 1 if config.figure is None else decompose_suite.TRIES
    # XLA takes a thread per CPU whatever the environment says to BLAS: the others get as many.
    with threadpoolctl.threadpool_limits(threads):
        for name, timings, climbed in decompose_suite.run(
            chosen, limit, config.repeats, names, tries
        ):
            points[name] = climbed
            rows += timings
            write_json(config.json, rows)  # a run of hours that is stopped keeps what it has
        rows += [measure(config.repeats) for measure in rates.values()]
    if config.figure is not None:
        save_figure(decompose_picture.draw(rows, points), pathlib.Path(config.figure))
    return rows, f"the same for XLA and BLAS; {decompose_suite.versions()}"


def scaling(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Rounds over devices: what one computes, and a model of several."""
    from launch.bench.processes import scaling_suite

    del threads
    rows = scaling_suite.rows(scaling_suite.SIZES[config.size])
    return rows, "see launch/bench/processes/scaling_suite.py"


def finetune(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """A step of adapters here and in PEFT, its phases, and what is possible."""
    from launch.bench import finetune_suite

    if config.model is None and config.language_model is None:
        raise ValueError(NO_MODEL)

    def batch(standard: tuple[int, int]) -> tuple[int, int]:
        return config.batch_size or standard[0], config.length or standard[1]

    rows, notes = [], []
    if config.model is not None:
        sizes = batch(finetune_suite.SIZES[config.size])
        how = config.rank, config.repeats, threads, config.dtype
        rows, note = finetune_suite.run(config.model, sizes, *how)
        notes.append(note)
    if config.language_model is not None:
        sizes = batch(finetune_suite.LANGUAGE)
        how = config.repeats, threads
        more, note = finetune_suite.language(config.language_model, sizes, *how)
        rows, notes = rows + more, [*notes, note]
    return rows, "\n\n".join(notes)


def claims(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Warm seconds of every claim's check, beside its first call."""
    from launch.bench import claims_suite
    from linear_theory import registry

    del threads
    trials = claims_suite.TRIALS[config.size]
    return claims_suite.run(list(registry().values()), trials, config.repeats)


def status(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """What the status of a run claims, beside the truth."""
    from launch.bench import status_suite

    del threads
    return status_suite.run(status_suite.PROBLEMS[config.size])


def adapters(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Merges, cuts and extractions of adapters, beside PEFT, numpy and torch."""
    from launch.bench import adapters_suite

    return adapters_suite.run(adapters_suite.SIZES[config.size], config.repeats, threads)


def first(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Imports, the first call of a shape, small problems, and the table of claims."""
    from launch.bench import first_suite

    del threads
    return first_suite.run(config.size)


def moments(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Moments summed on the device, beside their products and the host's factorisation."""
    from launch.bench import moments_suite

    del threads
    return moments_suite.run(moments_suite.SIZES[config.size])


def generation(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """A token of a language model beside a sweep through its weights."""
    from launch.bench import generation_suite

    del threads
    return generation_suite.run(generation_suite.SIZES[config.size])


def disk(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """A matrix in a file by two processes that read it in pieces, beside dask."""
    from launch.bench.processes import disk_suite

    del threads
    return disk_suite.run(disk_suite.SIZES[config.size])


def accelerator(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """Solvers, networks and products in one call, beside the roofline of the device."""
    from launch.bench import accelerator_suite

    del threads
    save = functools.partial(write_json, config.json)
    return accelerator_suite.run(config.size, config.model, save)


def every(config: BenchmarkConfig, threads: int) -> tuple[list[dict], str]:
    """The suites that have goals, and a page that holds one against the other."""
    from launch.bench import all_suite, goals

    # What no goal speaks of would take half of the time.
    chosen = {name: functools.partial(SUITES[name], config, threads) for name in WITH_GOALS}
    few = dataclasses.replace(config, cases=config.cases or goals.CASES)
    chosen["decompose"] = functools.partial(decompose, few, threads, goals.COMPETITORS)
    return all_suite.run(chosen)


WITH_GOALS = ("first", "moments", "generation", "finetune", "decompose", "disk")
SUITES = {
    "decompose": decompose,
    "finetune": finetune,
    "claims": claims,
    "scaling": scaling,
    "status": status,
    "adapters": adapters,
    "first": first,
    "moments": moments,
    "generation": generation,
    "disk": disk,
    "accelerator": accelerator,
    "all": every,
}
