"""From the configuration of `launch.train` to compiled functions, and their run."""

from __future__ import annotations

import dataclasses
import pathlib
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune import methods, models, tasks
from finetune.models.mlp import MLPConfig
from finetune.training import adapters, network, optimisers, state, step
from finetune.training.checkpoints import Checkpoints
from finetune.training.loop import LoopConfig, Outcome, fit
from launch.outputs import to_json
from launch.train_config import TrainConfig

FREE = ("workdir", "log_every")
"""Flags that a resumed run may change."""
RANDOM = "the base network is random, not pretrained"


class Job(NamedTuple):
    """All parts of a run before its first step."""

    task: tasks.Task
    network: network.Network
    method: methods.Method
    paths: tuple[str, ...]
    loop: LoopConfig
    step: Any
    predict: Any
    state: state.TrainState
    base: str


def prepare(config: TrainConfig) -> Job:
    """Loads data and model, and compiles nothing yet."""
    task = tasks.load(config.task_config(), _tokenizer(config))
    net = _network(config, task)
    loop = config.loop_config(task.steps("train", config.batch_size))
    method = methods.make(config.method_config(), config.optimiser_config(), loop.steps)
    head_tx = optimisers.optimiser(config.optimiser_config(head=True), loop.steps)
    paths = () if method.whole else net.adapted(config.modules)
    head = net.trained(config.head == "train", method.whole)
    twice = sorted(path for path in paths if f"{path}.weight" in head)
    if twice:
        raise ValueError(f"--modules has {twice[0]}, which --head=train trains whole; use one")
    first = state.start(method, net.kernels(paths), head, head_tx, jax.random.key(config.seed))
    one = step.train_step(net, method, task.loss, head_tx, config.step_config())
    return Job(
        task=task,
        network=net,
        method=method,
        paths=paths,
        loop=loop,
        step=jax.jit(one, donate_argnums=0),
        predict=jax.jit(step.predict(net, method)),
        state=first,
        base=network.digest(net.params),
    )


def checkpoints(config: TrainConfig, job: Job) -> Checkpoints | None:
    """The checkpoints of the run, if it has a folder."""
    if config.workdir is None:
        return None
    settings = {n: v for n, v in to_json(dataclasses.asdict(config)).items() if n not in FREE}
    batch = job.task.batch("train", config.seed, 0, config.batch_size)
    crc = 0
    for name in sorted(batch):
        crc = zlib.crc32(np.ascontiguousarray(batch[name]).tobytes(), crc)
    identity = {"configuration": settings, "base model": job.base, "data": crc}
    return Checkpoints(pathlib.Path(config.workdir) / "checkpoints", identity)


def run(job: Job, saved: Checkpoints | None, restored, report) -> Outcome:
    """Trains, from the restored checkpoint if there is one."""
    first, extra = (job.state, {}) if restored is None else restored

    def ranks(now):
        return job.method.ranks(now.theta, now.aux)

    return fit(
        job.step,
        job.predict,
        first,
        job.network.params,
        job.task,
        job.loop,
        checkpoints=saved,
        extra=extra,
        report=report,
        ranks=ranks,
    )


def result(config: TrainConfig, job: Job, outcome: Outcome) -> tuple[dict, adapters.Adapter]:
    """The record of result.json, and the adapter."""
    about = {"base": job.base, "head": config.head, "model": config.base(), "task": config.task}
    kernels = job.network.kernels(job.paths)
    adapter = adapters.exported(job.method, outcome.state, kernels, about)
    metric = job.task.metric
    in_head = sum(map(np.size, adapter.head.values()))
    record = {
        "task": config.task,
        "model": config.base(),
        "method": config.method,
        "metric": metric,
        "score": outcome.scores[metric],
        "best_score": outcome.best,
        "majority": job.task.majority(job.task.evaluation)[metric],
        "trainable_parameters": in_head if job.method.whole else adapter.parameters,
        "ranks": adapter.ranks,
        "steps": int(outcome.state.step),
        "seconds": outcome.seconds,
        "best_step": outcome.best_step,
        "scores": outcome.scores,
        "split": job.task.evaluation,
        "head": config.head,
        "head_parameters": sum(map(np.size, job.network.trained(config.head == "train").values())),
        "base": job.base,
        "note": "; ".join(filter(None, (job.task.note, RANDOM if config.base() == "mlp" else ""))),
    }
    return record, adapter


def _tokenizer(config: TrainConfig):
    if not tasks.needs_tokenizer(config.task):
        return None
    return models.resolve(config.base(), revision=config.revision)


def _network(config: TrainConfig, task: tasks.Task) -> network.Network:
    key, dtype = jax.random.key(config.model_seed), jnp.dtype(config.dtype)
    if config.base() == "mlp":
        sizes = MLPConfig(
            num_labels=task.num_labels, input_size=_pixels(task), hidden_size=config.hidden_size
        )
        model = models.initialise(sizes, key, dtype)
    else:
        sizes, model = models.load(
            config.base(),
            labels=task.num_labels,
            key=key,
            dtype=dtype,
            pooling=config.pooling,
            revision=config.revision,
        )
        _require_fit(config, task, sizes)
    return network.from_module(model, config.head, jax.random.fold_in(key, 1))


def _pixels(task: tasks.Task) -> int:
    """Numbers in one image."""
    return task.batch("train", 0, 0, 1)["pixels"].size


def _require_fit(config: TrainConfig, task: tasks.Task, sizes: models.Config) -> None:
    """Refuses a pretrained model for other inputs, before anything is written."""
    takes = getattr(sizes, "input_size", None)  # of networks for images
    given = None if tasks.needs_tokenizer(config.task) else _pixels(task)
    if takes != given:
        raise ValueError(
            f"--model={config.model} takes {takes or 'no'} numbers of an image; "
            f"--task={config.task} gives {given or 'none'}"
        )
