"""From a network and texts to a smaller network: calibration, plan, maps, scores, files."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from finetune.adapters.method import Factors
from finetune.compression import folders, gram_files, maps, moments, plans
from finetune.compression.directions import Directions
from finetune.compression.moments import Moments
from finetune.compression.plans import Curve, Ranks
from finetune.compression.texts import Blocks
from finetune.tasks.tokens import tokenizer_files
from launch.compressing import figure, report
from launch.compressing.config import POWERS, CompressConfig
from launch.compressing.subject import Material, Subject, judge, load, material
from launch.shell.waiting import progress, stage
from rankwise.files import write_json
from rankwise.plots.files import save as save_figure


class Fitted(NamedTuple):
    """What calibration gives: moments of every text, and all ranks of every map.

    Attributes:
      moments: name of a text, "calibration" first -> its moments.
      directions: module path -> directions.
      curves: module path -> output errors of every rank on the calibration text.
      power, shrink: of the metric, as of `maps.metric`.
      tried: every power that this one was chosen from, and its score.
    """

    moments: dict[str, Moments]
    directions: dict[str, Directions]
    curves: dict[str, Curve]
    power: float
    shrink: float | None
    tried: tuple[dict, ...] = ()


def compress(config: CompressConfig) -> None:
    """Does what the flags say."""
    started = time.monotonic()
    with stage("loading model and texts"):
        subject = load(config)
        shapes = [subject.shape(path) for path in subject.paths]
        for ratio in (config.ratio, *map(float, config.ratios)):
            plans.require_ratio(ratio, shapes, config.form)
        texts = material(config, subject)
    fitted = fit(config, subject, texts)
    ranks = plans.plan(config.plan, fitted.curves, config.ratio, config.form)
    chosen = maps_of(config, subject, texts, fitted, ranks)
    scores = judge(subject, texts, config.batch_size)
    with stage("judging the network before and after"):
        before, after = scores(subject.params), scores(maps.replaced(subject.params, chosen))
    others = _others(config, subject, fitted, scores)
    rows = report.modules(subject, fitted, ranks, chosen, config.form)
    record = {
        **report.record(config, subject, fitted, ranks, rows, texts.calibration.digest),
        "scores": {"before": before, "after": after},
        "others": others,
        "seconds": time.monotonic() - started,
    }
    if config.output is not None:
        _write(config, subject, chosen, record)
    write_json(config.json, record)
    print(report.text(record))


def fit(config: CompressConfig, subject: Subject, texts: Material) -> Fitted:
    """Moments of all texts, and the directions of every map."""
    collected = collect(config, subject, texts)
    if config.power != "auto":
        return _fitted(config, subject, collected, float(config.power))
    scores = judge(subject, texts._replace(judged=texts.choosing, pairs=None), config.batch_size)
    best, least, tried = None, np.inf, []
    for power in POWERS:
        one = _fitted(config, subject, collected, power)
        ranks = plans.plan(config.plan, one.curves, config.ratio, config.form)
        ((name, score),) = scores(maps.replaced(subject.params, _cut(one, ranks))).items()
        tried.append({"power": power, name: score})
        loss = score if name.startswith("perplexity") else -score
        if best is None or loss < least:
            best, least = one, loss
    return best._replace(tried=tuple(tried))


def _fitted(
    config: CompressConfig, subject: Subject, collected: dict[str, Moments], power: float
) -> Fitted:
    calibration, shrink = collected["calibration"], shrinkage(config)
    answers = maps.once(subject.params, calibration, power=power, shrink=shrink)
    all_ranks, curves = {}, {}
    for path, directions in progress(answers, len(subject.paths), f"maps, power {power:g}"):
        all_ranks[path] = directions
        curves[path] = Curve(subject.shape(path), directions.errors(calibration.grams[path]))
    return Fitted(collected, all_ranks, curves, power, shrink)


def collect(config: CompressConfig, subject: Subject, texts: Material) -> dict[str, Moments]:
    """Moments of all texts; those of calibration go to the file of --grams."""
    collected = {}
    for name, text in {"calibration": texts.calibration, **texts.judged}.items():
        batches = _watched(text, config.batch_size, name)
        collected[name] = moments.collect(subject.forward, subject.params, batches, subject.paths)
    if config.grams is not None:
        gram_files.write(config.grams, collected["calibration"].grams)
    return collected


def shrinkage(config: CompressConfig) -> float | None:
    """The number of --shrink; None where it is that of `maps.shrinkage`, map by map."""
    if config.shrink != "auto":
        return float(config.shrink)
    return maps.ANCHORED_SHRINK if config.order == "anchored" else None


def maps_of(
    config: CompressConfig, subject: Subject, texts: Material, fitted: Fitted, ranks: Ranks
) -> dict[str, Factors]:
    """The factors of every map that a plan changes."""
    if config.order == "once":
        return _cut(fitted, ranks)
    changed = sum(rank is not None for rank in ranks.values())
    answers = maps.in_turn(
        subject.forward,
        subject.params,
        texts.calibration.batches(config.batch_size),
        ranks,
        anchored=config.order == "anchored",
        power=fitted.power,
        shrink=fitted.shrink,
    )
    return dict(progress(answers, changed, f"maps, {config.order}"))


def _cut(fitted: Fitted, ranks: Ranks) -> dict[str, Factors]:
    return {p: fitted.directions[p].factors(r) for p, r in ranks.items() if r is not None}


def _others(config: CompressConfig, subject: Subject, fitted: Fitted, scores) -> list[dict]:
    """Scores of every plan at every further ratio, all from the one pass, in the order once."""
    cases = [(plan, float(ratio)) for ratio in config.ratios for plan in plans.PLANS]
    measured = []
    for plan, ratio in progress(cases, len(cases), "plans"):
        ranks = plans.plan(plan, fitted.curves, ratio, config.form)
        params = maps.replaced(subject.params, _cut(fitted, ranks))
        measured.append({"plan": plan, "ratio": ratio, "scores": scores(params)})
    return measured


def _write(
    config: CompressConfig, subject: Subject, chosen: Mapping[str, Factors], record: dict
) -> None:
    with contextlib.ExitStack() as stack, stage(f"writing {config.output}"):
        place = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        pictures = save_figure(figure.draw(record), place / "compression")
        files = (*tokenizer_files.of_model(config.model, config.revision), *pictures)
        folders.write(
            config.output,
            subject.source,
            subject.base,
            chosen,
            config.form,
            record=record,
            files=files,
            readme=report.card(record),
        )


def _watched(text: Blocks, size: int, name: str):
    return progress(text.batches(size), int(np.ceil(len(text.ids) / size)), f"batches, {name}")
