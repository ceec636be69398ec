"""A task and a network for it, loaded: what training and scoring share."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp

from finetune import models, tasks
from finetune.models.mlp import MLPConfig
from finetune.tasks import class_names, subsets
from finetune.training import adapter_files, network, sharding
from finetune.training.devices import ONE_DEVICE, Devices
from launch.training import classes as run_classes
from launch.training import fitting
from launch.training.problem_config import ProblemConfig


class Problem(NamedTuple):
    """A task and a network for it.

    Attributes:
      base: fingerprint of the network's parameters.
    """

    task: run_classes.AnyTask
    network: network.Network
    base: str


def load(
    config: ProblemConfig,
    devices: Devices = ONE_DEVICE,
    test: bool = False,
    remat: bool = False,
    scan: int = 0,
    classes: tuple[str, ...] | None = None,
) -> Problem:
    """Reads data and weights; the weights go to the devices leaf by leaf.

    Args:
      test: also the unlabelled test split of a GLUE task.
      remat, scan: see `finetune.training.network.from_module`.
      classes: their names by number, of a network that is trained already; () of one that numbers
        them as the data do. None takes those of the model's config.json, if the data have these.

    Raises:
      ValueError: data with other classes than `classes`, and what the readers refuse.
    """
    if config.of_spans and config.pooling is not None:
        raise ValueError(
            f"--pooling is {config.pooling!r}; allowed with --task={config.task} is none, as the "
            "head reads every token of an encoder"
        )
    # An encoder marks SQuAD's answers, so that it is no language model's task.
    written = tasks.for_language(config.task, config.form) and not config.of_spans
    chosen = config.task_config(kind(config) if written else None, test, classes)
    task = tasks.load(chosen, tokenizer(config))
    if config.train_rows is not None and "train" in task.splits:
        task = subsets.few(task, "train_rows", config.train_rows, config.model_seed)
    if config.eval_rows is not None:
        task = subsets.few(task, "eval_rows", config.eval_rows, config.model_seed, task.evaluation)
    if classes is None:
        task = run_classes.begun(task, classes_of_model(config), config.base())
    else:
        task = run_classes.fixed(task, classes)
    net = network_for(config, task, devices, remat, scan)
    return Problem(task, net, network.digest(net.params))


def classes_of_model(config: ProblemConfig) -> tuple[str, ...] | None:
    """The classes of the head that is read from the base model, where its config.json names any."""
    if config.base() == "mlp" or config.head in network.DRAWN_HEADS:
        return None
    return class_names.of_config(config.base_config)


def pooling(config: ProblemConfig) -> str:
    """What the head of a model of text reads: "cls", "mean", or "none" for every token."""
    of_model = (config.base_config.get(name) for name in ("pooling", "classifier_pooling"))
    return config.head_pooling or next(filter(None, of_model), "cls")


def shape(base: str, revision: str | None = None) -> network.Network:
    """The network with shapes in place of arrays: what modules it has, before weights are read."""
    if base == "mlp":
        sizes: models.Config = MLPConfig(num_labels=2, input_size=1)
    else:
        sizes = models.read_config(models.resolve(base, revision=revision), labels=2)
    return network.from_module(models.abstract(sizes))


def adapter_of(run: pathlib.Path, config: ProblemConfig, base: Problem) -> adapter_files.Adapter:
    """The adapter that a run of `launch.train` left.

    Raises:
      ValueError: no adapter there, or that of another base model.
    """
    adapter = adapter_files.load(run / "adapter.safetensors")
    if adapter.about["base"] != base.base:
        raise ValueError(f"{config.base()} is another base model than the one of {run}")
    return adapter


def kind(config: ProblemConfig) -> str:
    """What kind of language model the base is, as its config.json tells.

    Raises:
      ValueError: it is none.
    """
    if config.base() == "mlp":
        raise ValueError(f"--model=mlp is no language model, which --task={config.task} needs")
    if config.kind == "encoder":
        raise ValueError(f"--model={config.base()} is no language model, as T5 and Llama are")
    return config.kind


def tokenizer(config: ProblemConfig) -> tasks.Tokenizer | None:
    """The base model's tokenizer, where the task is text.

    Raises:
      ValueError: one with an id that the model does not know.
    """
    if not config.text:
        return None
    known = config.base_config.get("vocab_size")  # first: what is no model has no tokenizer either
    # By its name: of a model on the Hub the weights' download has no tokenizer.
    of_base = tasks.load_tokenizer(config.base(), config.revision)
    rows = of_base.size if known is None else known
    if of_base.size > rows:
        raise ValueError(
            f"tokenizer of --model={config.base()} has ids up to {of_base.size - 1}; allowed are 0 "
            f"to {rows - 1}, as the model's vocab_size is {rows}: take the tokenizer that the "
            "model was trained with, or give its embedding a row for each id"
        )
    return of_base


def network_for(
    config: ProblemConfig,
    task: run_classes.AnyTask,
    devices: Devices = ONE_DEVICE,
    remat: bool = False,
    scan: int = 0,
) -> network.Network:
    """The base network with the outputs that the task needs, on the devices."""
    key, dtype = jax.random.key(config.model_seed), jnp.dtype(config.dtype)
    if config.base() == "mlp":
        sizes = MLPConfig(
            num_labels=task.num_labels,
            input_size=fitting.pixels(task),
            hidden_size=config.hidden_size,
        )
        model = models.initialise(sizes, key, dtype)
    else:
        sizes, model = models.load(
            config.base(),
            labels=task.num_labels,
            key=key,
            dtype=dtype,
            sharding=devices.of_parameter,
            pooling=config.head_pooling,
            revision=config.revision,
            fresh_head=config.head in network.DRAWN_HEADS,
            scan=scan,
        )
        fitting.require_fit(config, task, sizes)
        fitting.require_tables(config, task, sizes)
    net = network.from_module(model, config.head, jax.random.fold_in(key, 1), remat, scan)
    if config.base() == "mlp":
        net = dataclasses.replace(net, drawn=tuple(net.params))
    # Also what was drawn and not read.
    return sharding.network(devices, net)
