"""The compiled programs of the study: a whole epoch is one call, and all paths share them.

A finished component is added to the kernels, W + a b, so that every stage of every path is the same
rank-one problem on another base: the same function as with the component beside the kernel, for one
compilation in all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from finetune.adapters import factors
from finetune.adapters.gradient_start import start as small_start
from finetune.adapters.method import Run
from finetune.methods import Method
from finetune.methods.full import full
from finetune.methods.lora import LoraConfig, lora
from finetune.models.parts.ops import PLAIN
from finetune.optimiser import OptimiserConfig
from finetune.studies.vision.halves import Images
from finetune.training import state
from finetune.training.network import Network, Params
from finetune.training.state import TrainState
from finetune.training.step import StepConfig, train_step


class Trainer(NamedTuple):
    """One way to train, from parameters to parameters.

    Attributes:
      start: (key, params) -> TrainState with fresh factors and moments.
      epoch: (state, params, images, rows) -> (state, loss of every step); rows as from `orders`.
      result: (state, params) -> params with what was trained inside.
    """

    start: Callable[[jax.Array, Params], TrainState]
    epoch: Callable[..., tuple[TrainState, jax.Array]]
    result: Callable[[TrainState, Params], Params]


class Programs(NamedTuple):
    """All programs of a study.

    Attributes:
      whole: full fine-tuning, of the base.
      component: one component in every linear map.
      joint: as many components at once as a path has.
      accuracy: (params, images) -> share of the images whose class has the largest logit.
      traces: name of a program -> how often it was traced, which is how often it is compiled.
    """

    whole: Trainer
    component: Trainer
    joint: Trainer
    accuracy: Callable[[Params, Images], jax.Array]
    traces: dict[str, int]


def programs(
    network: Network, loss: Any, rank: int, learning_rate: float = 1e-3, std: float = 0.01
) -> Programs:
    """The programs for networks of one architecture; parameters are arguments of each.

    Args:
      network: its parameters are not used.
      loss: (logits, labels, weight) -> scalar.
      rank: of the joint adapter.
      learning_rate: of Adam, constant.
      std: of the first a; b starts from 0 and the scale is 1.
    """
    traces: dict[str, int] = {}

    def counted(name, function):
        def traced(*arguments):
            traces[name] = traces.get(name, 0) + 1
            return function(*arguments)

        return jax.jit(traced)

    options = OptimiserConfig(
        learning_rate=learning_rate, schedule="constant", warmup=0, weight_decay=0, clip=0
    )
    run = Run(options, 1)  # at a constant rate the length of a run does not matter

    def trainer(name: str, method: Method) -> Trainer:
        epoch = counted(f"{name} epoch", _epoch(network, method, loss, run.tx))
        result = counted(f"{name} result", _result)
        paths = () if method.beside == "all" else tuple(sorted(network.linears))

        def start(key, params):
            head = params if method.beside == "all" else {}
            return state.start(method, network.kernels(paths, params), head, run.tx, key)

        return Trainer(start, epoch, result)

    def accuracy(params, images):
        logits = network.forward(params, {"pixels": images.pixels}, PLAIN, None)
        return jnp.mean(logits.argmax(-1) == images.labels)

    return Programs(
        whole=trainer("whole", full()),
        component=trainer("component", small_lora(1, run, std)),
        joint=trainer("joint", small_lora(rank, run, std)),
        accuracy=counted("accuracy", accuracy),
        traces=traces,
    )


def small_lora(rank: int, run: Run, std: float = 0.01) -> Method:
    """LoRA as the sequential paper has it: y = x W + (x a) b, a ~ N(0, std^2), b = 0, no alpha / r.

    Source: arXiv 2505.22602, experiments with LoRA, and its released code.

    Example:
      >>> method = small_lora(2, Run(OptimiserConfig(), 1))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> theta["fc"]["a"].shape, aux["fc"]["gain"].tolist()
      ((3, 2), [1.0, 1.0])
    """
    plain = lora(LoraConfig(rank, alpha=float(rank)), run)

    def prepare(key, kernels, gradients):
        _, aux = plain.prepare(key, kernels, gradients)
        return small_start(key, kernels, rank, std), aux

    return dataclasses.replace(plain, prepare=prepare)


def _epoch(network, method, loss, tx):
    step = train_step(network, method, loss, tx, StepConfig(clip=0))

    def epoch(state, params, images, rows):
        def train_row(state, row):
            batch = {
                "pixels": images.pixels[row.indices],
                "labels": images.labels[row.indices],
                "weight": row.weight,
            }
            state, metrics = step(state, params, batch)
            return state, metrics["loss"]

        return jax.lax.scan(train_row, state, rows)

    return epoch


def _result(state: TrainState, params: Params) -> Params:
    changed = {
        f"{path}.weight": params[f"{path}.weight"] + factors.delta(leaves, state.aux[path])
        for path, leaves in state.theta.items()
    }
    return {**params, **state.head, **changed}
