"""A training run from its job to its files, and what is printed of it."""

from __future__ import annotations

import functools
import pathlib

import jax

from finetune.training import adapter_files
from launch.shell import app, distributed, earlier
from launch.shell.outputs import Workdir
from launch.shell.tables import table
from launch.training import job as training
from launch.training.config import TrainConfig
from launch.training.display import Display
from launch.training.result import result
from rankwise.records import read

MEAN = (
    "Note: transformers has no classifier on the mean of the tokens: launch.export will write "
    "the backbone of this run with its head beside it (--format=merged), and no adapter for PEFT"
)

TOO_MANY = "Note: --rank={} is above {}, the rank that a change of {} ({} x {}) has at most"
NO_CHOICE = (
    "Note: --budget={} is the --rank={} of each of {} modules, so that no ranks are chosen; "
    "--rank={} leaves room"
)


def train(config: TrainConfig, job: training.Job, name: str = "") -> dict:
    """Trains, writes the files, and returns the record of result.json.

    Args:
      name: of the run where there are several, for its progress.
    """
    saved = training.checkpoints(config, job)
    anew = saved is None or config.overwrite
    restored = None if anew else saved.restore(job.state)
    if restored is None:
        restored = training.started(config, job)
    elif more := training.prolonged(config, job, restored):
        app.say("train", more)
        notes = filter(None, (restored.extra.get("prolonged"), more))
        restored = restored._replace(extra={**restored.extra, "prolonged": "; then ".join(notes)})
    done = 0 if restored is None else int(restored.state.step)
    # Only now, when nothing was refused, is anything written; by one of several processes.
    folder = config.workdir if distributed.is_main_process() else None
    if config.overwrite and folder is not None:
        earlier.clear(folder)
    workdir = Workdir(folder, config, upto=done, count="step")
    display = Display(job.loop.steps, done, job.task.metric, distributed.is_main_process(), name)
    passes = job.task.steps(job.task.evaluation, job.loop.eval_batch_size)
    watched = job._replace(predict=display.watched(job.predict, passes))

    def report(record):
        workdir.metric(record)
        display(record)

    try:
        outcome = training.run(watched, saved, restored, report)
    finally:
        display.close()
    extra = {} if restored is None else restored.extra
    record, adapter = result(config, job, outcome, extra)
    if workdir.folder is not None:
        adapter_files.save(workdir.folder / "adapter.safetensors", adapter)
        draw(workdir.folder, record)
    workdir.result(record)
    return record


def print_start(config: TrainConfig, job: training.Job, mean: bool) -> None:
    """What has to be known of the network and the method before a run."""
    if job.network.drawn:
        print(training.DRAWN.format(", ".join(job.network.drawn)))
    if mean:
        print(MEAN)
    settings = config.method_config().settings
    rank, modules = getattr(settings, "rank", None), len(job.paths)
    if rank is not None and getattr(settings, "budget", None) == rank * modules:
        print(NO_CHOICE.format(settings.budget, rank, modules, 2 * rank))
    if rank is not None and modules:
        params = job.network.params
        kernels = jax.eval_shape(functools.partial(job.network.kernels, job.paths), params)
        path, kernel = min(kernels.items(), key=lambda entry: min(entry[1].shape))
        if rank > min(kernel.shape):
            print(TOO_MANY.format(rank, min(kernel.shape), path, *kernel.shape))


def print_result(record: dict) -> None:
    """The scores, the majority class beside them, and what was trained."""
    names = ("score", "best_score", "majority")
    print(table(("", record["metric"]), [(name, record[name]) for name in names]))
    ranks = list(record["ranks"].values())
    where = "whole"
    if ranks:
        several = f"{min(ranks)} to {max(ranks)}" if min(ranks) < max(ranks) else ranks[0]
        where = f"in {len(ranks)} modules of rank {several}"
    print(
        f"{record['method']} on {record['split']} of {record['task']}: "
        f"{record['trainable_parameters']} parameters {where}, "
        f"head {record['head']} ({record['head_parameters']}); "
        f"{record['steps']} steps in {record['seconds']:.1f} s"
    )
    if record.get("gradient_seconds") is not None:
        print(f"The start from the gradient took {record['gradient_seconds']:.1f} s more.")
    print("best_score is the best of several evaluations on that split; score is the last.")
    if record["positive_class"] is not None:
        value = record["scores"].get("f1")  # some metrics are made of it and others
        known = "" if value is None else f"{value:.4g}, "
        print(f"F1 is {known}of the class {record['positive_class']!r}.")
    if record["note"]:
        print(record["note"])


def draw(folder: pathlib.Path, record: dict) -> None:
    """curves and ranks, PNG and SVG."""
    # Matplotlib takes a second to import, and is needed here alone.
    from launch.training import pictures
    from rankwise.plots.files import save

    records = read(folder / "metrics.jsonl")
    curves = pictures.curves(records, record["metric"], record["majority"])
    save(curves, folder / "curves")
    ranks = pictures.rank_map(records, record["steps"])
    if ranks is not None:
        save(ranks, folder / "ranks")
