"""--residual_of: an adapter that repairs rounded weights, measured before and after."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from finetune.adapters.method import Factors
from finetune.compression import directions, folders, maps
from finetune.compression.moments import Params
from finetune.compression.repair import repaired
from finetune.compression.rounding import BLOCK, ROUNDINGS
from finetune.peft import compatibility, standalone
from finetune.peft.card import Card
from finetune.peft.standalone import Standalone
from finetune.weights.files import open_checkpoint
from launch.compressing import report
from launch.compressing.config import CompressConfig
from launch.compressing.run import collect, shrinkage
from launch.compressing.subject import Subject, judge, load, material
from launch.shell.tables import table
from launch.shell.waiting import progress, stage
from rankwise.files import write_json

PLAIN = "plain singular value decomposition of what rounding changed: no --data, no inputs"
WEIGHTED = "least error of the outputs on {tokens} tokens, power {power:g}, shrink {shrink}"
WEIGHTS = "weights"


class Rounded(NamedTuple):
    """A network of rounded weights.

    Attributes:
      base: what the adapter belongs to, for its adapter_config.json.
      how: the rounding in words.
      params: by torch name.
      names: module path -> its name in the base's checkpoint.
    """

    base: str
    how: str
    params: Params
    names: Mapping[str, str]


def repair(config: CompressConfig) -> None:
    """Writes the adapter that is nearest to --model on top of --residual_of."""
    started = time.monotonic()
    with stage("loading both networks"):
        subject = load(config)
        rounded = _rounded(config, subject)
    collected, scores, shrink = {}, lambda _: {}, shrinkage(config)
    if config.data:
        with stage("reading texts"):
            texts = material(config, subject)
        collected = collect(config, subject, texts)
        scores = judge(subject, texts, config.batch_size)
    grams = {name: moments.grams for name, moments in collected.items()}
    adapters, rows = {}, []
    for path in progress(subject.paths, len(subject.paths), "maps"):
        kernel, base = (np.asarray(p[f"{path}.weight"]) for p in (subject.params, rounded.params))
        metric = None
        if collected:
            calibration, power = collected["calibration"], float(config.power)
            metric = maps.metric(path, calibration, power=power, shrink=shrink)
        factors = standalone.rounded(repaired(kernel, base, config.rank, metric), "float32")
        adapters[path] = factors
        errors = _errors(kernel, base, factors, {name: g[path] for name, g in grams.items()})
        size = sum(factor.size for factor in factors)
        rank = factors.a.shape[1]
        rows.append({"module": path, "rank": rank, "parameters": size, "errors": errors})
    with stage("judging the networks"):
        judged = {
            "model": scores(subject.params),
            "rounded": scores(rounded.params),
            "repaired": scores(_with(rounded.params, adapters)),
        }
    how = PLAIN
    if grams:
        tokens = collected["calibration"].tokens
        how = WEIGHTED.format(
            tokens=tokens, power=float(config.power), shrink=report.shrink_text(shrink)
        )
    record = {
        "asked": dataclasses.asdict(config),
        "rounding": rounded.how,
        "how": how,
        "parameters": sum(row["parameters"] for row in rows),
        "mean_relative_error": _means(rows),
        "scores": judged,
        "modules": rows,
        "seconds": time.monotonic() - started,
    }
    if config.output is not None:
        with stage(f"writing {config.output}"):
            _write(config, rounded, adapters, record)
    write_json(config.json, record)
    print(_text(record))


def _rounded(config: CompressConfig, subject: Subject) -> Rounded:
    if config.residual_of in ROUNDINGS:
        quantiser = ROUNDINGS[config.residual_of]
        kernels = {f"{path}.weight" for path in subject.paths}
        params = {n: quantiser(np.asarray(p)) for n, p in subject.params.items() if n in kernels}
        how = f"{config.residual_of} in blocks of {BLOCK}"
        return Rounded(config.model, how, {**subject.params, **params}, _names(subject))
    place = dataclasses.replace(config, model=config.residual_of, revision=None)
    try:
        other = load(place)
    except ValueError as error:  # which calls it the model
        raise ValueError(str(error).replace("model is", "--residual_of is", 1)) from None
    shapes = [{n: p.shape for n, p in params.items()} for params in (subject.params, other.params)]
    compatibility.refuse(
        "--residual_of is no rounded form of --model",
        [
            f"{name} has shapes {shapes[0].get(name)} and {shapes[1].get(name)}"
            for name in sorted({name for name, _ in shapes[0].items() ^ shapes[1].items()})
        ],
    )
    names = [f"{path}.weight" for path in subject.paths]
    if all(np.array_equal(subject.params[name], other.params[name]) for name in names):
        raise ValueError(
            f"--residual_of={config.residual_of} has the kernels of --model; allowed are others"
        )
    return Rounded(config.residual_of, "weights of a checkpoint", other.params, _names(other))


def _names(subject: Subject) -> dict[str, str]:
    entries = open_checkpoint(subject.source).entries
    return {path: folders.stored_name(path, subject.base, entries) for path in subject.paths}


def _with(params: Params, adapters: Mapping[str, Factors]) -> Params:
    """The rounded network with the adapter on top."""
    added = {f"{p}.weight": params[f"{p}.weight"] + maps.product(f) for p, f in adapters.items()}
    return {**params, **added}


def _errors(kernel, base, factors: Factors, grams) -> dict[str, dict[str, float]]:
    """Name of a text, or of the weights themselves -> the relative squared error of both."""
    residual = kernel - base
    changes = {"rounded": residual, "repaired": residual - factors.a @ factors.b}
    return {
        name: {
            which: directions.relative(change, kernel, gram) for which, change in changes.items()
        }
        for name, gram in {WEIGHTS: None, **grams}.items()
    }


def _means(rows) -> dict[str, dict[str, float]]:
    return {
        name: {w: float(np.mean([row["errors"][name][w] for row in rows])) for w in each}
        for name, each in rows[0]["errors"].items()
    }


def _write(config: CompressConfig, rounded: Rounded, adapters, record: dict[str, Any]) -> None:
    modules = {rounded.names[path]: factors for path, factors in adapters.items()}
    adapter = Standalone(modules, frozenset(), {}, "float32", standalone.plain(rounded.base))
    notes = [f"belongs to the base with its weights rounded: {rounded.how}", record["how"]]
    notes += [f"{name}: {line}" for name, line in _scores(record)]
    card = Card(method="repair of rounded weights", notes=tuple(notes))
    standalone.write(config.output, adapter, card=card, record=record)


def _scores(record: dict[str, Any]) -> list[tuple[str, str]]:
    scores = record["scores"]
    return [
        (name, ", ".join(f"{which} {each[name]:.4f}" for which, each in scores.items()))
        for name in scores["model"]
    ]


def _text(record: dict[str, Any]) -> str:
    """What is printed."""
    means = record["mean_relative_error"]
    columns = [f"{name}: {which}" for name, each in means.items() for which in each]
    rows = [
        (row["module"], row["rank"], row["parameters"], *_flat(row["errors"]))
        for row in record["modules"]
    ]
    rows.append(("all: numbers, mean error", "", record["parameters"], *_flat(means)))
    parts = [table(("module", "rank", "parameters", *columns), rows)]
    scores = record["scores"]
    if scores["model"]:
        lines = [(n, *(each[n] for each in scores.values())) for n in scores["model"]]
        parts += ["", table(("score", *scores), lines)]
    parts += [
        "",
        f"{record['rounding']}; {record['how']}; {record['seconds']:.0f} s",
        "errors are ||X (W - V)||^2 / ||X W||^2, of weights ||W - V||^2 / ||W||^2",
    ]
    if output := record["asked"]["output"]:
        parts.append(f"{output} belongs on {record['asked']['residual_of']}, of PEFT's format")
    return "\n".join(parts)


def _flat(errors) -> list[float]:
    return [value for each in errors.values() for value in each.values()]
