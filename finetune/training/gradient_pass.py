"""The gradient of the network before training, for the methods that start from it.

G = dL/dW at the base network, L the mean loss of some training rows: the mean over their batches,
weighed by rows, so that it does not depend on how the rows are cut.

Memory: one float32 copy of the adapted kernels, the sum, which every batch is added to in place;
and, while a batch is computed, the gradients of the kernels of one group, at most as much again.
`gradient_kernels=1` keeps that to a single kernel. Both are freed once the adapter is made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters import factors
from finetune.adapters.method import Leaves, Method, Tree
from finetune.adapters.sampling import GradientOptions
from finetune.training import state
from finetune.training.adapted_ops import adapted
from finetune.training.devices import ONE_DEVICE, Devices
from finetune.training.network import Network
from finetune.training.state import TrainState
from finetune.training.step import Loss, loss_of
from rankwise.memory import guarded

STREAM = 2  # of the run's key; `state.start` has 0 and 1
ROOM = (
    "the gradient before training",
    "a smaller --gradient_batch_size or --gradient_kernels=1 needs less, --remat keeps less",
)
"""What takes memory, and what makes room."""


class Started(NamedTuple):
    """A state before its first step.

    Attributes:
      state: the state.
      seconds: of the gradient and all that is made of it, compilation included; None without.
    """

    state: TrainState
    seconds: float | None


def start(
    method: Method,
    network: Network,
    task: Any,
    paths: tuple[str, ...],
    head: Leaves,
    head_tx: optax.GradientTransformation,
    seed: int,
    devices: Devices = ONE_DEVICE,
) -> Started:
    """`state.start` with the gradients that the method asks for; a function of the seed.

    Args:
      task: a `finetune.tasks.Task`; the rows are those of its training split.
      paths, head, head_tx: as in `state.start`.
      seed: of the run.
      devices: the gradient is computed on all of them alike: its batches are too small to deal.

    Raises:
      ValueError: more rows than there are, a gradient that is zero or not finite, and what the
        method refuses.
    """
    key, kernels = jax.random.key(seed), network.kernels(paths)
    options = method.needs_gradients
    if options is None:
        return Started(state.start(method, kernels, head, head_tx, key), None)
    began = time.perf_counter()
    dense = gradients(network, task, paths, options, seed, devices)
    first = state.start(method, kernels, head, head_tx, key, dense)
    del dense
    if method.settle is not None:
        loss = sampled_loss(method, network, task, options, seed, devices)
        theta, aux = method.settle(loss, first.theta, first.aux)
        first = jax.tree.map(jnp.copy, first._replace(theta=theta, aux=aux))
    return Started(jax.block_until_ready(first), time.perf_counter() - began)


def template(
    method: Method, kernels: Leaves, head: Leaves, head_tx: optax.GradientTransformation, seed: int
) -> TrainState:
    """A state of the shapes of `start` without its values: what a checkpoint is read into.

    Nothing is computed, so that a run that goes on does not repeat the gradient; and what the
    method refuses is refused before anything runs.

    Raises:
      ValueError: what the method refuses by its shapes.
    """
    key = jax.random.key(seed)

    def made(kernels, head):
        floats = {p: jnp.zeros(w.shape, _float(w.dtype)) for p, w in kernels.items()}
        made = state.start(method, kernels, head, head_tx, key, floats)
        return made._replace(key=jnp.zeros((), jnp.int32))

    shapes = jax.eval_shape(made, kernels, head)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    return zeros._replace(key=key)


def gradients(
    network: Network,
    task: Any,
    paths: tuple[str, ...],
    options: GradientOptions,
    seed: int = 0,
    devices: Devices = ONE_DEVICE,
) -> Leaves:
    """path -> dL/dW (in, out), the mean over the rows of `options`; float32 (float64 for float64).

    Args:
      paths: of the adapted modules.
      seed: of the order of the rows and of dropout, where the options have them.

    Raises:
      ValueError: more rows than there are; no room for a pass; a gradient that is zero, of which
        there are no directions, or not finite.

    Example:
      >>> dense = gradients(network, task, ("fc1",), GradientOptions())  # doctest: +SKIP
    """

    def batches():
        return _batches(task, options, seed)

    return mean_gradients(network, task.loss, paths, batches, options, seed, devices)


def mean_gradients(
    network: Network,
    loss: Loss,
    paths: tuple[str, ...],
    batches: Callable[[], Iterable[tuple[Any, float]]],
    options: GradientOptions,
    seed: int | jax.Array = 0,
    devices: Devices = ONE_DEVICE,
) -> Leaves:
    """`gradients` over any batches.

    Args:
      batches: () -> pairs of a batch and its share of the rows, the same at each call.
      seed: of dropout, or the key itself.
    """
    size = options.gradient_kernels or max(len(paths), 1)
    run = jax.random.key(seed) if isinstance(seed, int) else seed
    key = jax.random.fold_in(run, STREAM) if options.gradient_dropout else None
    dense = {}
    for group in (paths[i : i + size] for i in range(0, len(paths), size)):
        add = guarded(devices.jit(_adding(network, loss), donate_argnums=0), *ROOM, batch=2)
        kernels = network.kernels(group)
        total = {p: jnp.zeros(w.shape, _float(w.dtype)) for p, w in kernels.items()}
        total = devices.replicated(total)
        for number, (batch, share) in enumerate(batches()):
            own = None if key is None else jax.random.fold_in(key, number)
            total = add(total, network.params, devices.replicated(batch), np.float64(share), own)
        dense |= total
    sizes = jax.device_get(jax.jit(lambda tree: jax.tree.map(jnp.linalg.norm, tree))(dense))
    for path, norm in sizes.items():
        if not np.isfinite(norm) or norm == 0:
            raise ValueError(
                f"the gradient of module {path} has norm {norm} on these rows; allowed are finite "
                "numbers > 0: leave it out with modules, or take other rows with gradient_shuffled"
            )
    return dense


def sampled_loss(
    method: Method,
    network: Network,
    task: Any,
    options: GradientOptions,
    seed: int = 0,
    devices: Devices = ONE_DEVICE,
) -> Callable[[Tree, Tree], float]:
    """The function (theta, aux) -> L of the network with an adapter, on the same rows."""

    def batches():
        return _batches(task, options, seed)

    return mean_loss(method, network, task.loss, batches, devices)


def mean_loss(
    method: Method,
    network: Network,
    loss: Loss,
    batches: Callable[[], Iterable[tuple[Any, float]]],
    devices: Devices = ONE_DEVICE,
) -> Callable[[Tree, Tree], float]:
    """`sampled_loss` over any batches, as `mean_gradients` has them."""

    def batch_loss(theta, aux, params, batch):
        ops = adapted(method, theta, aux)
        return loss_of(network, loss, params, batch, ops, None)

    run = devices.jit(batch_loss)

    def mean(theta: Tree, aux: Tree) -> float:
        return float(
            sum(
                share * run(theta, aux, network.params, devices.replicated(batch))
                for batch, share in batches()
            )
        )

    return mean


def _adding(network: Network, loss: Any) -> Callable[..., Leaves]:
    """(total, params, batch, share, key) -> total + share * dL/dW."""

    def add(total, params, batch, share, key):
        def value(kernels):
            ops = adapted(factors, {}, {}, kernels)
            return loss_of(network, loss, params, batch, ops, key)

        dense = jax.grad(value)(network.kernels(tuple(total), params))
        return {p: total[p] + share.astype(total[p].dtype) * g for p, g in dense.items()}

    return add


def _batches(task: Any, options: GradientOptions, seed: int) -> Iterator[tuple[Any, float]]:
    """The batches and each one's share of the rows."""
    count, size = options.gradient_batches, options.gradient_batch_size
    there = task.steps("train", size)
    if count > there:
        raise ValueError(
            f"gradient_batches is {count} with gradient_batch_size {size}; "
            f"allowed are at most {there}, the batches of the training split"
        )
    order = seed if options.gradient_shuffled else None
    batches = [task.batch("train", order, number, size) for number in range(count)]
    rows = [float(batch["weight"].sum()) for batch in batches]
    yield from ((batch, n / sum(rows)) for batch, n in zip(batches, rows, strict=True))


def _float(dtype) -> jnp.dtype:
    return jnp.promote_types(dtype, jnp.float32)
