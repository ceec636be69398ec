"""A finished run as an adapter for PEFT, or as its base model with the adapter merged."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from finetune import models, peft
from finetune.adapters.method import Factors
from finetune.models.mlp import MLPConfig
from finetune.peft import merging
from finetune.tasks.tokens import tokenizer_files
from finetune.training import adapter_files
from finetune.weights.files import read_json
from finetune.weights.naming import rebuild
from launch.exporting.config import ExportConfig
from launch.training import classes as run_classes
from launch.training import problem
from launch.training.config import TrainConfig
from launch.training.problem_config import of_run

WHOLE = ("full", "welore")
"""Methods that replace kernels of the base: what they did is no change of low rank."""
MEAN = (
    "transformers has no classifier on the mean of the tokens: the backbone is merged, the head is "
    f"in {merging.HEAD}"
)


def write(config: ExportConfig) -> None:
    """Loads base and adapter of the run, checks that they belong together, and writes."""
    run = pathlib.Path(config.workdir)
    record, train = read_json(run / "result.json"), of_run(run / "config.json", TrainConfig)
    classes = run_classes.of_run(run)
    base = problem.load(train, classes=classes)
    adapter = problem.adapter_of(run, train, base)
    sizes, revision, entries = base_model(train, base)
    changes = {**unused(adapter, base.network.params), **adapter.modules}
    about = {"base": train.base(), "revision": revision, "card": card(record)}
    about |= {"entries": entries, "classes": run_classes.names(base.task)}
    if config.format == "merged":
        # Of full fine-tuning the "head" is the whole network.
        whole, heads = (adapter.head, {}) if train.method == "full" else ({}, adapter.head)
        model = rebuild(models.abstract(sizes), {**base.network.params, **whole})
        files = tokenizer_files.of_model(train.base(), train.revision) if train.text else ()
        if sizes.pooling == "mean":
            about["card"] = noted(about["card"], MEAN)
            print(MEAN)
        peft.export_merged(config.output, model, changes, heads, files=files, **about)
    elif train.method in WHOLE:
        raise ValueError(f"--method={train.method} left no adapter for PEFT; use --format=merged")
    elif train.base() == "mlp":
        raise ValueError("the base network mlp is random and nowhere else; use --format=merged")
    else:
        if config.truncate is not None:
            truncated = peft.truncated(changes, config.truncate)
            changes, note = truncated.changes, f"truncated {truncated.summary}"
            about["card"] = noted(about["card"], note)
            print(note)
        # Also a head that was not trained: the base checkpoint may lack it.
        peft.export(config.output, changes, {**base.network.head(), **adapter.head}, sizes, **about)
    print(f"{config.format} of {len(changes) or 'all'} modules in {config.output}")


def base_model(train: TrainConfig, base: problem.Problem):
    """Configuration, revision and config.json of the base model."""
    labels = base.task.num_labels
    if train.base() == "mlp":
        inputs, width = base.network.params["fc1.weight"].shape
        return MLPConfig(num_labels=labels, input_size=inputs, hidden_size=width), None, {}
    folder = models.resolve(train.base(), revision=train.revision)
    sizes = models.read_config(folder, labels=labels, pooling=train.head_pooling)
    revision = None if pathlib.Path(train.base()).exists() else folder.name  # a commit
    return sizes, revision, train.base_config


def unused(adapter: adapter_files.Adapter, params) -> dict[str, Factors]:
    """Factors of rank 0 for the modules that got no component."""
    shapes = {path: params[f"{path}.weight"].shape for path in adapter.about["ranks"]}
    return {p: Factors(np.zeros((m, 0)), np.zeros((0, n))) for p, (m, n) in shapes.items()}


def card(record: dict) -> peft.Card:
    """What result.json says about the run."""
    known = {name: record[name] for name in ("method", "metric", "score", "majority")}
    notes = (record["note"],) if record["note"] else ()
    return peft.Card(data=f"{record['task']}, scored on {record['split']}", notes=notes, **known)


def noted(card: peft.Card, note: str) -> peft.Card:
    """The card with one more note."""
    return dataclasses.replace(card, notes=(*card.notes, note))
