"""What `launch.compress` says: a row per map, the scores, the record and the model card."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from finetune.compression import forms, maps
from launch.shell.tables import table

REMOTE = "rankwise, and transformers with trust_remote_code=True; others refuse its model_type"
LOADS = {
    "dense": "every program that loads the model it came from; it saves nothing",
    "factors": REMOTE,
    "pivot": REMOTE,
}


def modules(subject, fitted, ranks, chosen, form: str) -> list[dict[str, Any]]:
    """A row per map: its rank, its numbers, and ||X (W - V)||^2 / ||X W||^2 on every text."""
    rows = []
    for path, rank in ranks.items():
        kernel = np.asarray(subject.params[f"{path}.weight"])
        errors = {
            name: 0.0
            if rank is None
            else maps.relative_error(kernel, chosen[path], collected.grams[path])
            for name, collected in fitted.moments.items()
        }
        size = kernel.size if rank is None else forms.cost(form, *kernel.shape, rank)
        row = {"module": path, "shape": kernel.shape, "rank": rank, "parameters": size}
        rows.append({**row, "errors": errors})
    return rows


def record(config, subject, fitted, ranks, rows, digest: str) -> dict[str, Any]:
    """The entries of compression.json but for the scores."""
    whole = sum(int(np.prod(row["shape"])) for row in rows)
    errors = {name: [row["errors"][name] for row in rows] for name in fitted.moments}
    return {
        "asked": dataclasses.asdict(config),
        "power": fitted.power,
        "powers": fitted.tried,
        "shrink": shrink_text(fitted.shrink),
        "calibration": {"data": config.data, "sha256": digest},
        "tokens": {name: collected.tokens for name, collected in fitted.moments.items()},
        "parameters": {
            "linear maps before": whole,
            "linear maps asked": int(config.ratio * whole),
            "linear maps after": sum(row["parameters"] for row in rows),
            "model before": sum(int(np.prod(leaf.shape)) for leaf in subject.params.values()),
        },
        "mean_relative_error": {name: float(np.mean(each)) for name, each in errors.items()},
        "modules": rows,
    }


def text(record: dict[str, Any]) -> str:
    """What is printed."""
    names = list(record["mean_relative_error"])
    rows = [
        (
            r["module"],
            "dense" if r["rank"] is None else r["rank"],
            r["parameters"],
            *(r["errors"][name] for name in names),
        )
        for r in record["modules"]
    ]
    sizes = record["parameters"]
    means = tuple(record["mean_relative_error"].values())
    rows.append(("all: numbers, mean error", "", sizes["linear maps after"], *means))
    parts = [table(("module", "rank", "parameters", *(f"error, {n}" for n in names)), rows), ""]
    scores = record["scores"]
    lines = [(name, scores["before"][name], scores["after"][name]) for name in scores["before"]]
    parts.append(table(("score", "before", "after"), lines))
    if tried := record["powers"]:
        parts += ["", table(tuple(tried[0]), [tuple(each.values()) for each in tried])]
    if record["others"]:
        header = ("plan", "ratio", *record["others"][0]["scores"])
        cells = [(o["plan"], o["ratio"], *o["scores"].values()) for o in record["others"]]
        parts += ["", table(header, cells)]
    return "\n".join([*parts, "", *_summary(record)])


def _summary(record: dict[str, Any]) -> list[str]:
    asked, sizes, tokens = record["asked"], record["parameters"], record["tokens"]
    left = sizes["linear maps after"] / sizes["linear maps before"]
    gone = sizes["linear maps before"] - sizes["linear maps after"]
    model = 1 - gone / sizes["model before"]
    lines = [
        f"{left:.3f} of the numbers in linear maps, {model:.3f} of the model's; form "
        f"{asked['form']}, plan {asked['plan']}, order {asked['order']}, power "
        f"{record['power']:g}, shrink {record['shrink']}; calibrated on {tokens['calibration']} "
        f"tokens in {record['seconds']:.0f} s",
        "errors are ||X (W - V)||^2 / ||X W||^2 of single maps: a proxy, judge by the scores",
    ]
    if asked["output"]:
        lines.append(f"{asked['output']} is loaded by {LOADS[asked['form']]}")
    return lines


def shrink_text(shrink: float | None) -> str:
    """A number, or what auto stands for."""
    few, many, times = maps.FEW_SHRINK, maps.MANY_SHRINK, maps.FEW
    auto = f"{few:g} of maps with less than {times} tokens per input, {many:g} of others"
    return auto if shrink is None else f"{shrink:g}"


def card(record: dict[str, Any]) -> str:
    """README.md of the folder."""
    asked, scores = record["asked"], record["scores"]
    model = str(asked["model"])
    lines = [
        "---",
        f"base_model: {json.dumps(model)}",
        f"library_name: {'transformers' if asked['form'] == 'dense' else 'rankwise'}",
        "---",
        "",
        f"# {' '.join(model.split())}, linear maps of low rank",
        "",
        *(f"* {line}" for line in _summary(record)),
        "",
        "| score | before | after |",
        "|---|---|---|",
        *(
            f"| {n} | {scores['before'][n]:.4f} | {scores['after'][n]:.4f} |"
            for n in scores["after"]
        ),
        "",
        "Every map's rank and errors are in compression.json.",
    ]
    return "\n".join(lines) + "\n"
