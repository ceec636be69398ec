"""Fine-tuning of one network, run after run: what the survey's figures on adapters are made of.

With a model folder, its network on a task of GLUE. Without, a dense network on images: trained
whole on the first half of the classes, and adapted to the second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from finetune import models, tasks
from finetune import optimiser as optimisers
from finetune.adapters.method import Method
from finetune.methods.full import full
from finetune.models.dense import DenseConfig
from finetune.optimiser import OptimiserConfig
from finetune.studies.snapshots import snapshots
from finetune.training import gradient_pass, network, step
from finetune.training.network import DRAWN_HEADS, HEADS, TRAINED_HEADS, Network
from finetune.training.state import TrainState
from rankwise import checks

LAYERS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptationSetting:
    """What is adapted, and how.

    Attributes:
      model: folder of a model; None for a dense network.
      task, data_dir: of `finetune.tasks`; of images where there is no model.
      pooling: of the model, "cls" or "mean"; None for its own.
      max_length: tokens per text.
      hidden_size, base_steps: of the dense network and of its training, 32 rows a step; its head is
        drawn anew for the second half.
      modules: pattern of the adapted modules, see `Network.adapted`.
      rank: r.
      learning_rate: the largest; it falls linearly to 0.
      epsilon: of Adam.
      steps, batch_size: of every run.
      rows: training rows at most, the first ones; None for all.
      scored: rows that scores are taken on at most, the first ones; None for all.
      snapshots: how often a run is looked at, at equal distances, beside its start.
      head: of `finetune.training.network.HEADS`.
      seed: of the network where it is made, the head, the adapters and the order of the rows.

    Raises:
      ValueError: an entry outside its range; steps that are no multiple of snapshots.
    """

    model: str | None = None
    task: str = "digits"
    data_dir: str | None = None
    pooling: str | None = None
    max_length: int = 128
    hidden_size: int = 64
    base_steps: int = 300
    modules: str | None = None
    rank: int = 8
    learning_rate: float = 1e-4
    epsilon: float = 1e-8
    steps: int = 100
    batch_size: int = 16
    rows: int | None = None
    scored: int | None = None
    snapshots: int = 20
    head: str = "train"
    seed: int = 0

    def __post_init__(self):
        for name in ("max_length", "hidden_size", "base_steps", "rank", "steps", "batch_size"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("rows", "scored"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)
        checks.integer("snapshots", self.snapshots, 1, self.steps)
        checks.integer("seed", self.seed, 0)
        checks.positive("learning_rate", self.learning_rate)
        checks.positive("epsilon", self.epsilon)
        checks.choice("head", self.head, HEADS)
        if self.steps % self.snapshots:
            raise ValueError(
                f"snapshots is {self.snapshots}; allowed are divisors of the {self.steps} steps"
            )

    @property
    def optimiser(self) -> OptimiserConfig:
        """Of the adapter and of the head: no warm-up, no clipping, as published."""
        return OptimiserConfig(
            learning_rate=self.learning_rate, epsilon=self.epsilon, warmup=0, clip=0
        )


class Problem(NamedTuple):
    """A task and the network that is adapted to it."""

    task: tasks.Task
    network: Network

    def few(self, rows: int | None) -> Problem:
        """With the first `rows` training rows only."""
        there = len(self.task.split("train"))
        if rows is None or rows >= there:
            return self
        return self._replace(task=self.task.select("train", np.arange(rows)))


class Trained(NamedTuple):
    """A finished run.

    Attributes:
      state: the last.
      losses: of every step, before it, (steps,).
      snapshots: what `look` returned at the start and after every snapshot.
    """

    state: TrainState
    losses: np.ndarray
    snapshots: list[Any]


def problem(setting: AdaptationSetting) -> Problem:
    """Loads or trains what is adapted."""
    if setting.model is None:
        task, net = _dense(setting)
    else:
        key = jax.random.key(setting.seed)
        size = setting.max_length
        config = tasks.TaskConfig(setting.task, setting.data_dir, max_length=size, lengths=(size,))
        task = tasks.load(config, setting.model)
        fresh = setting.head in DRAWN_HEADS
        given = {"labels": task.num_labels, "pooling": setting.pooling, "fresh_head": fresh}
        _, model = models.load(setting.model, key=key, **given)
        net = network.from_module(model, setting.head, jax.random.fold_in(key, 1))
    if setting.scored is not None:
        there = min(setting.scored, len(task.split(task.evaluation)))
        task = task.select(task.evaluation, np.arange(there))
    return Problem(task, net).few(setting.rows)


class Trainer:
    """Runs of one method on one network; they share their compiled programs.

    Args:
      setting: its steps, batches and optimiser.
      net: the network; the rows of a run may differ.
      method: as from `finetune.methods.make`, for as many steps.

    Example:
      >>> from finetune.methods import MethodConfig, make
      >>> setting = AdaptationSetting(steps=2, snapshots=1, base_steps=2, hidden_size=8, rank=2)
      >>> case = problem(setting)
      >>> method = make(MethodConfig("lora", rank=2), setting.optimiser, setting.steps)
      >>> Trainer(setting, case.network, method).run(case, 0).losses.shape
      (2,)
    """

    def __init__(self, setting: AdaptationSetting, net: Network, method: Method):
        self.setting, self.method = setting, method
        self.paths = net.adapted(setting.modules) if method.beside == "head" else ()
        self.head = net.trained(setting.head in TRAINED_HEADS, method.beside)
        self.head_tx = optimisers.optimiser(setting.optimiser, setting.steps)
        self.predict = jax.jit(step.predict(net, method))
        self.step: Any = None

    def run(
        self,
        case: Problem,
        seed: int,
        look: Callable[[TrainState], Any] = lambda state: None,
    ) -> Trained:
        """One run.

        Args:
          case: rows of the task that the first run had too.
          seed: of the adapters and of the order of the rows.
          look: state -> what is kept of it.

        Raises:
          ValueError: training that diverges.
        """
        setting, task = self.setting, case.task
        if self.step is None:
            settings = step.StepConfig(clip=setting.optimiser.clip)
            self.step = jax.jit(
                step.train_step(case.network, self.method, task.loss, self.head_tx, settings)
            )
        start = gradient_pass.start(
            self.method,
            case.network,
            task,
            paths=self.paths,
            head=self.head,
            head_tx=self.head_tx,
            seed=seed,
        ).state

        def train(state, number):
            batch = task.batch("train", seed, number, setting.batch_size)
            state, metrics = self.step(state, case.network.params, batch)
            return state, metrics["loss"]

        every = setting.steps // setting.snapshots
        stops = range(every, setting.steps + 1, every)
        losses, looks = [], [look(start)]
        for state, parts in snapshots(train, start, range(setting.steps), stops):
            losses += parts
            looks.append(look(state))
        values = np.asarray(jax.device_get(losses))
        if not np.isfinite(values).all():
            raise ValueError(
                f"learning_rate is {setting.learning_rate}; with it the loss of "
                f"{self.method.name} is not finite"
            )
        return Trained(state, values, looks)

    def score(self, case: Problem, state: TrainState) -> float:
        """The main metric on the evaluation split."""
        params, task = case.network.params, case.task

        def forward(batch):
            return self.predict(state.theta, state.aux, state.head, params, batch)

        logits = task.run(forward, task.evaluation, 128)
        return task.score(task.predict(logits), task.labels(task.evaluation))[task.metric]


def changes(method: Method, state: TrainState, net: Network) -> dict[str, np.ndarray]:
    """path -> the change of the kernel (in, out) as a dense matrix."""
    return {
        path: np.asarray(method.export(kernel, state.theta[path], state.aux[path]).delta)
        for path, kernel in net.kernels(tuple(state.theta)).items()
    }


def described(setting: AdaptationSetting, case: Problem) -> dict[str, np.ndarray]:
    """task, note, rows and metric, for titles."""
    rows = np.asarray(len(case.task.split("train")))
    words = {"task": setting.task, "note": case.task.note, "metric": case.task.metric}
    return {"rows": rows} | {name: np.asarray(text) for name, text in words.items()}


def _dense(setting: AdaptationSetting) -> tuple[tasks.Task, Network]:
    """The second half of the classes, and a network trained on the first."""
    halves = [
        tasks.load(tasks.TaskConfig(setting.task, setting.data_dir, classes=half))
        for half in ("first", "second")
    ]
    key = jax.random.key(setting.seed)
    sizes = DenseConfig(
        num_labels=halves[0].num_labels,
        input_size=halves[0].batch("train", 0, 0, 1)["pixels"].size,
        hidden_size=setting.hidden_size,
        num_layers=LAYERS,
    )
    model = models.initialise(sizes, key)
    net = network.from_module(model)
    training = dataclasses.replace(
        setting, steps=setting.base_steps, snapshots=1, batch_size=32, learning_rate=1e-3
    )
    state = Trainer(training, net, full()).run(Problem(halves[0], net), setting.seed).state
    # A new head, as with a model of text: the old one has learnt that none is of these classes.
    fresh = network.from_module(model, "frozen_random", jax.random.fold_in(key, 1)).head()
    return halves[1], dataclasses.replace(net, params={**state.head, **fresh})
