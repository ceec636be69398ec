"""The model that writes: that of a run, or of a folder, with or without an adapter of PEFT."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from finetune import models, peft
from finetune.tasks import LanguageTask
from finetune.tasks.own_text import completions
from finetune.training import adapter_files, network
from launch.generating.config import GenerateConfig
from launch.training import problem, problem_config
from launch.training.problem import Problem
from launch.training.problem_config import ProblemConfig


class Writer(NamedTuple):
    """The task of writing, and the compiled function from a batch of it to token ids."""

    task: LanguageTask
    write: Callable[[Any], jax.Array]


def load(config: GenerateConfig, prompts: list[Any]) -> Writer:
    """Reads tokenizer and weights.

    Raises:
      ValueError: a model that is no language model, an adapter of another one, a tokenizer without
        the template that is asked for.
    """
    settings = _settings(config)
    kind = problem.kind(settings)
    task = completions.load(
        prompts,
        problem.tokenizer(settings),
        kind,
        chat=config.chat or _of_chats(config.workdir),
        length=config.max_new_tokens,
        samples=config.samples,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed,
        words=config.stop,
    )
    _require_context(settings, task, config.max_new_tokens)
    net = problem.network_for(settings, task)
    modules, head = _adapter(config, settings, net)
    forward = jax.jit(adapter_files.predict(net, modules, head, task.answer))
    return Writer(task, lambda batch: forward(net.params, batch))


def _require_context(settings: ProblemConfig, task: LanguageTask, new: int) -> None:
    folder = models.resolve(settings.base(), revision=settings.revision)
    most = getattr(models.read_config(folder, labels=0), "max_position_embeddings", None)
    tokens = task.split(completions.SPLIT).inputs["source"].lengths
    if most is not None and tokens.max() + new > most:
        raise ValueError(
            f"prompt {tokens.argmax()} has {tokens.max()} tokens with --max_new_tokens={new}; "
            f"allowed are {most} together, the model's max_position_embeddings"
        )


def _of_chats(workdir: str | None) -> bool:
    """Whether a run has learnt chats."""
    if workdir is None:
        return False
    return adapter_files.load(pathlib.Path(workdir) / "adapter.safetensors").about.get(
        "chat", False
    )


def _settings(config: GenerateConfig) -> ProblemConfig:
    if config.workdir is not None:
        return problem_config.of_run(pathlib.Path(config.workdir) / "config.json")
    given = {"model": config.model, "revision": config.revision, "dtype": config.dtype}
    return ProblemConfig(task="instructions", **given)


def _adapter(config: GenerateConfig, settings: ProblemConfig, net: network.Network):
    if config.workdir is not None:
        base = Problem(None, net, network.digest(net.params))
        of_run = problem.adapter_of(pathlib.Path(config.workdir), settings, base)
        return of_run.modules, of_run.head
    if config.adapter is None:
        return {}, {}
    folder = models.resolve(settings.base(), revision=settings.revision)
    of_peft = peft.load(config.adapter, models.read_config(folder, labels=0))
    return of_peft.adapters, of_peft.heads
