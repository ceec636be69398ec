"""From the configuration of `launch.train` to compiled functions, and their run."""

from __future__ import annotations

import dataclasses
import pathlib
import zlib
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from finetune import methods, optimiser, tasks
from finetune.models.parts.layered import Runs
from finetune.training import gradient_pass, network, state, step
from finetune.training.checkpoints import Checkpoints, Restored
from finetune.training.devices import Devices, devices, rows
from finetune.training.loop import LoopConfig, Outcome, fit
from launch.shell import earlier
from launch.training import problem, problem_config, rates
from launch.training.config import FORMER, TrainConfig
from rankwise.files import to_json
from rankwise.memory import guarded

FREE = ("workdir", "log_every", "distributed", "overwrite", "scan")
"""Flags that a resumed run may change."""
LENGTH = ("steps", "epochs")
"""Flags that prolong a run."""
LESS = "--accumulate=N computes it in N parts, --remat keeps less, shorter rows or fewer need less"
"""What makes room for a step."""
DRAWN = "Drawn at random, not read: {}"
"""What is said of a network's parameters before a score."""


class Job(NamedTuple):
    """All parts of a run before its first step.

    Of a method that starts from gradients, `state` has only the shapes; see `started`.
    """

    task: tasks.Task
    network: network.Network
    method: methods.Method
    paths: tuple[str, ...]
    loop: LoopConfig
    step: rates.Rated
    predict: Any
    head_tx: optax.GradientTransformation
    state: state.TrainState | None
    base: str
    devices: Devices

    @property
    def runs(self) -> Runs:
        """Layers whose state lies together; none where states are cut, or levels dealt out."""
        axes = () if self.devices.mesh is None else self.devices.mesh.axis_names
        together = self.method.layerwise and self.devices.parts == 1 and "level" not in axes
        return self.network.runs if together else ()


def load(config: TrainConfig) -> problem.Problem:
    """Data and network, on the devices of the run."""
    return problem.load(config, devices(config.axes), remat=config.remat, scan=config.scanned())


def prepare(config: TrainConfig, loaded: problem.Problem | None = None) -> Job:
    """Loads data and model, unless they are given, and compiles nothing yet."""
    config.ranks()  # what is refused is refused before anything is loaded
    places = devices(config.axes)
    task, net, base = loaded or load(config)
    of_pass = task.pass_size(task.evaluation, config.eval_batch_size, rows(config.axes))
    loop, own = _length(config, task, of_pass)
    method, head_tx = rates.parts(config, places, own)
    scheduled = config.method_config().scheduled
    paths = net.adapted(config.modules) if method.beside == "head" else ()

    def one_step(state, given, batch):
        params, course = given
        course = course if scheduled else course._replace(steps=loop.steps)
        parts = rates.parts(config, places, course)
        one = step.train_step(net, parts[0], task.loss, parts[1], config.step_config())
        return one(state, params, batch)

    predict = places.jit(step.predict(net, method, task.answer))
    a_step = f"a step of --batch_size={config.batch_size}"
    a_pass = f"an evaluation of {of_pass} rows (--eval_batch_size)"
    job = Job(
        task=task,
        network=net,
        method=method,
        paths=paths,
        loop=loop,
        step=rates.Rated(guarded(places.jit_step(one_step), a_step, LESS), own),
        predict=guarded(predict, a_pass, "give a smaller one"),
        head_tx=head_tx,
        state=None,
        base=base,
        devices=places,
    )
    return _begun(job, config)


def restarted(job: Job, config: TrainConfig) -> Job:
    """The run of another seed, at other learning rates and, of a method that is `scheduled`, of
    another length; what is compiled stays."""
    loop, own = _length(config, job.task, job.loop.eval_batch_size)
    method, head_tx = rates.parts(config, job.devices, own)
    step = job.step._replace(course=own)
    return _begun(job._replace(method=method, head_tx=head_tx, step=step, loop=loop), config)


def _length(config: TrainConfig, task, of_pass: int) -> tuple[LoopConfig, rates.Course]:
    """The loop of a run, whose evaluations have `of_pass` rows a pass, and its learning rates."""
    loop = config.loop_config(task.steps("train", config.batch_size))
    return dataclasses.replace(loop, eval_batch_size=of_pass), rates.course(config, loop.steps)


def _begun(job: Job, config: TrainConfig) -> Job:
    """The job before its first step."""
    net, paths = job.network, job.paths
    head = net.trained(config.head in network.TRAINED_HEADS, job.method.beside)
    twice = sorted(path for path in paths if f"{path}.weight" in head)
    if twice:
        whole = f"--head={config.head} trains whole"
        raise ValueError(f"--modules has {twice[0]}, which {whole}; use one")
    shapes = job.method.needs_gradients is not None
    begin = gradient_pass.template if shapes else _first_state
    first = begin(job.method, net.kernels(paths), head, job.head_tx, config.seed)
    return job._replace(state=job.devices.state(first))


def _first_state(method, kernels, head, head_tx, seed: int) -> state.TrainState:
    return state.start(method, kernels, head, head_tx, jax.random.key(seed))


def started(config: TrainConfig, job: Job) -> Restored | None:
    """The start of a run whose method takes gradients, with their seconds; None for the others.

    A run that goes on from a checkpoint does not need it.
    """
    if job.method.needs_gradients is None:
        return None
    head = job.network.trained(config.head in network.TRAINED_HEADS, job.method.beside)
    first = gradient_pass.start(
        job.method,
        job.network,
        job.task,
        paths=job.paths,
        head=head,
        head_tx=job.head_tx,
        seed=config.seed,
        devices=job.devices,
    )
    return Restored(job.devices.replicated(first.state), {"gradient_seconds": first.seconds})


def checkpoints(config: TrainConfig, job: Job) -> Checkpoints | None:
    """The checkpoints of the run, if it has a folder."""
    if config.workdir is None:
        return None
    # Where it runs makes it no other run: on other devices it goes on, to rounding.
    settings = to_json(dataclasses.asdict(dataclasses.replace(config, mesh=())))
    settings = {name: value for name, value in settings.items() if name not in FREE}
    # As earlier versions have written them, where they would have run the same.
    settings = {n: v for n, v in settings.items() if v or n not in problem_config.LATER}
    former = FORMER.get(config.method, {})
    options = config.method_options.items()
    settings["method_options"] = to_json({n: v for n, v in options if former.get(n) != v})
    batch = job.task.batch("train", config.seed, 0, config.batch_size)
    crc = 0
    for name in sorted(batch):
        crc = zlib.crc32(np.ascontiguousarray(batch[name]).tobytes(), crc)
    prints = {f"rows of split {name!r}": value for name, value in fingerprints(job.task).items()}
    # "data", the first batch, is what earlier versions knew of the rows.
    identity = {"configuration": settings, "base model": job.base, **prints, "data": crc}
    return Checkpoints(folder(config.workdir), identity, unless_older=prints, free=LENGTH)


def fingerprints(task: tasks.Task) -> dict[str, str]:
    """Split -> fingerprint of its rows, of the splits that a run trains and scores on."""
    return {name: task.split(name).fingerprint for name in ("train", task.evaluation)}


def prolonged(config: TrainConfig, job: Job, restored: Restored) -> str:
    """What it means that a run goes on to another number of steps than it was begun for, or "".

    Raises:
      ValueError: it has more steps already, or its method has dealt them out.
    """
    former = restored.identity["configuration"]
    length = {name: former.get(name) for name in LENGTH}
    before = dataclasses.replace(config, **length).loop_config(
        job.task.steps("train", config.batch_size)
    )
    done, planned, total = int(restored.state.step), before.steps, job.loop.steps
    if total == planned:
        return ""
    holds = f"{config.workdir} holds {done} steps of a run of {planned}"
    if total < done:
        raise ValueError(f"{holds}; --steps or --epochs ask for {total}; {earlier.REMEDIES}")
    if config.method_config().plans:
        raise ValueError(
            f"{holds}, which --method={config.method} has dealt out; of {total} steps it would be "
            f"another run; {earlier.REMEDIES}"
        )
    was, now = (float(optimiser.rate(config.optimiser_config(), done, n)) for n in (planned, total))
    if was == now:
        return f"goes on from step {done} to {total}, planned were {planned}"
    return (
        f"goes on from step {done} to {total}, planned were {planned}: "
        f"--schedule={config.schedule} is laid out anew, and the learning rate of step {done} is "
        f"{now:.3g}, not {was:.3g}"
    )


def folder(workdir: str) -> pathlib.Path:
    """The folder of a run's checkpoints."""
    return pathlib.Path(workdir) / earlier.CHECKPOINTS


def run(job: Job, saved: Checkpoints | None, restored, report) -> Outcome:
    """Trains, from the restored checkpoint, or what `started` gave, if there is one."""
    first, extra = (job.state, {}) if restored is None else restored[:2]

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
        place=job.devices.dealt,
        runs=job.runs,
    )
