"""What is recorded of a run at its end: the record of result.json, and the adapter."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from finetune.training import adapter_files, network
from finetune.training.loop import Outcome
from finetune.training.packing import packed
from launch.training import classes as run_classes
from launch.training.config import TrainConfig
from launch.training.job import Job, fingerprints


def result(
    config: TrainConfig, job: Job, outcome: Outcome, extra: dict[str, Any] | None = None
) -> tuple[dict, adapter_files.Adapter]:
    """The record of result.json, and the adapter.

    Args:
      extra: what was saved beside the state, with the seconds of the gradient before training.
    """
    about = {"base": job.base, "head": config.head, "model": config.base(), "task": config.task}
    about["data"] = fingerprints(job.task)
    about["classes"] = list(run_classes.names(job.task))
    if getattr(job.task, "chat", False):
        about["chat"] = True
    kernels = job.network.kernels(job.paths)
    adapter = adapter_files.exported(job.method, outcome.state, kernels, about)
    metric = job.task.metric
    in_head = sum(map(np.size, adapter.head.values()))
    in_adapter = adapter_files.trained(adapter, outcome.state.theta)
    record = {
        "task": config.task,
        "model": config.base(),
        "method": config.method,
        "metric": metric,
        "score": outcome.scores[metric],
        "best_score": outcome.best,
        "majority": job.task.majority(job.task.evaluation)[metric],
        "trainable_parameters": in_head if job.method.beside == "all" else in_adapter,
        "ranks": adapter.ranks,
        "steps": int(outcome.state.step),
        "seconds": outcome.seconds,
        "step_bytes": _step_bytes(config, job, outcome.state),
        "layers_together": [len(run) for run in job.network.runs],
        "best_step": outcome.best_step,
        "scores": outcome.scores,
        "split": job.task.evaluation,
        "head": config.head,
        "head_parameters": _in_head(job, config),
        "base": job.base,
        "data": about["data"],
        "drawn": list(job.network.drawn),
        "classes": about["classes"],
        "positive_class": getattr(job.task, "positive_class", None),
        "note": "; ".join(filter(None, (config.note(job.task), (extra or {}).get("prolonged")))),
    }
    if job.method.needs_gradients is not None:
        record["gradient_seconds"] = (extra or {}).get("gradient_seconds")
    return record, adapter


def _in_head(job: Job, config: TrainConfig) -> int:
    """Trained parameters of the head."""
    beside = "head" if job.method.beside == "all" else job.method.beside
    head = job.network.trained(config.head in network.TRAINED_HEADS, beside)
    return sum(map(np.size, head.values()))


def _step_bytes(config: TrainConfig, job: Job, state: Any) -> int | None:
    """`held_bytes` of a training step, of the run's first batch."""
    batch = job.devices.dealt(job.task.batch("train", config.seed, 0, config.batch_size))
    state = packed(state, job.runs)
    return held_bytes(job.step.lower(state, job.network.params, batch).compile())


def held_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Arrays that a compiled program holds at once on one device, its arguments included.

    What is overwritten in place is counted once. None where the backend does not say.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    parts = (
        analysis.argument_size_in_bytes,
        analysis.output_size_in_bytes,
        analysis.temp_size_in_bytes,
    )
    return sum(parts) - analysis.alias_size_in_bytes
