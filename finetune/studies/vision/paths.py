"""One seed of the study: the base, all paths of epochs as a tree, and the joint adapter.

A path such as 3-1-10 trains component 1 for 3 epochs, freezes it, trains component 2 for 1 epoch,
and component 3 for 10. Paths share their beginnings: a node of the tree is trained once for the
longest choice, and its snapshots at the other choices are where the next component starts. With
choices 1, 3, 5, 10 the 64 paths take 10 (1 + 4 + 16) = 210 epochs in place of 912.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import numpy as np

from finetune.studies.snapshots import snapshots
from finetune.studies.vision.halves import Half, Halves, orders
from finetune.studies.vision.programs import Programs, Trainer
from finetune.studies.vision.setting import COMPONENTS, VisionSetting
from finetune.training.network import Params

BASE, JOINT = 0, COMPONENTS + 1
"""Roles beside the components 1, 2, 3: each has a stream of random numbers of its own."""
ROLES = COMPONENTS + 2


def _silent(stage: str) -> None:
    """Shows nothing."""


def run_seed(
    setting: VisionSetting,
    programs: Programs,
    halves: Halves,
    params: Params,
    seed: int,
    tick: Callable[[str], None] = _silent,
) -> dict[str, np.ndarray]:
    """Accuracies on test images, logits over all classes.

    Args:
      params: random ones, where the base starts.
      seed: of the order of the images and of the factors.
      tick: called with the stage's name after every epoch.

    Returns:
      base_own (), base_new (): of the base on the first and on the second half of the classes;
      component_1 (C,), component_2 (C, C), component_3 (C, C, C): on the second half, by the index
      of the epochs of each component in `setting.epochs`; joint (joint_epochs,). All float32.
    """
    base = train_base(setting, programs, halves.first, params, seed, tick)
    new = halves.second
    accuracies = {
        "base_own": programs.accuracy(base, halves.first.test),
        "base_new": programs.accuracy(base, new.test),
    }
    nodes = {(): base}
    for depth in range(1, COMPONENTS + 1):
        grown, scores = {}, np.zeros((len(setting.epochs),) * depth, np.float32)
        for place, start in nodes.items():
            ends = component(setting, programs, new, start, depth, seed, tick)
            for index, end in enumerate(ends):
                grown[(*place, index)] = end if depth < COMPONENTS else None
                scores[(*place, index)] = programs.accuracy(end, new.test)
        nodes, accuracies[f"component_{depth}"] = grown, scores
    accuracies["joint"] = joint(setting, programs, new, base, seed, tick)
    return {name: np.asarray(value, np.float32) for name, value in accuracies.items()}


def train_base(setting, programs, half: Half, params: Params, seed: int, tick) -> Params:
    """The network trained whole on one half: its parameters."""
    stops = (setting.base_epochs,)
    return next(bases(setting, programs, half, params, seed, stops, tick))


def bases(setting, programs, half, params, seed: int, stops: Sequence[int], tick=_silent):
    """The network trained whole on one half: yields its parameters after each number of epochs."""
    return _trained(setting, programs.whole, half, params, BASE, seed, stops, tick)


def component(setting, programs, half: Half, params: Params, depth: int, seed: int, tick=_silent):
    """Component `depth` on top of `params`: yields the parameters with it after each choice."""
    return _trained(setting, programs.component, half, params, depth, seed, setting.epochs, tick)


def joint(setting, programs, half: Half, params: Params, seed: int, tick=_silent) -> np.ndarray:
    """All components at once: accuracy after every epoch, (joint_epochs,)."""
    every = range(1, setting.joint_epochs + 1)
    ends = _trained(setting, programs.joint, half, params, JOINT, seed, every, tick)
    return np.asarray([programs.accuracy(end, half.test) for end in ends], np.float32)


def _trained(setting, trainer: Trainer, half, params, role: int, seed: int, stops, tick=_silent):
    """Yields the parameters at every stop of one run, which has a fresh optimiser."""
    stream = ROLES * seed + role
    state = trainer.start(jax.random.key(stream), params)
    size = half.train.labels.shape[0]
    name = {BASE: "base", JOINT: "joint"}.get(role, f"component {role}")

    def train(state, epoch):
        rows = orders(size, setting.batch_size, stream, epoch)
        state, losses = trainer.epoch(state, params, half.train, rows)
        tick(name)
        return state, losses

    for now, _ in snapshots(train, state, range(max(stops)), stops):
        yield trainer.result(now, params)
