"""Training steps of ours that the suite finetune times, on one network and one batch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune import methods, models, optimiser
from finetune.methods import MethodConfig
from finetune.models.parts.ops import Ops, matmul
from finetune.models.parts.token_parts import IGNORED, surprisals
from finetune.tasks import Split, Task
from finetune.training import network, packing, state, step
from launch.training.config import SCAN
from launch.training.result import held_bytes

RATE, LABELS, STEPS, MASKS = 1e-3, 2, 1000, 100
"""Learning rate, classes, the steps of the run, and the first of them with a mask of AdaLoRA's."""


class Base(NamedTuple):
    """What all contestants share.

    Attributes:
      folder: where the network was read, of a language model perhaps a GGUF file.
      net: the network; the head of a classifier is random.
      batch: input_ids (rows, length), attention_mask, labels (rows,), or of a language model (rows,
        length), and weight, the labels of a row that count.
      hidden, inner: sizes of its largest product.
      dtype: what the network computes in; parameters are float32.
    """

    folder: str
    net: network.Network
    batch: dict[str, np.ndarray]
    hidden: int
    inner: int
    dtype: str = "float32"

    def loss(self, logits: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
        """Mean cross-entropy."""
        if self.net.kind == "causal":
            return jnp.sum(surprisals(logits, labels)) / jnp.sum(weight)
        given = Split({"input_ids": self.batch["input_ids"]}, self.batch["labels"])
        names = ("no", "yes")
        task = Task("made", {"train": given}, names, ("accuracy",), lambda inputs, indices: inputs)
        return task.loss(logits, labels, weight)


class Program:
    """A compiled step with the state that it moves on; calling it takes a step.

    Attributes:
      state: beside the first; its buffers are written over.
      number: the number that every step is told it has, None to count them.
      initial_loss: the loss before the first step.
      bytes: arrays that it holds at once, by the compiler's count.
      flops: floating-point operations, by the same; exact without branches and loops.
    """

    def __init__(self, one: Callable[..., Any], first: Any, base: Base):
        self.first, self.rest = first, (base.net.params, base.batch)
        self.compiled = jax.jit(one, donate_argnums=0).lower(first, *self.rest).compile()
        self.bytes, self.flops = held_bytes(self.compiled), self.compiled.cost_analysis()["flops"]
        self.state, self.number = jax.tree.map(jnp.copy, first), None
        self.initial_loss: float | None = None

    def at(self, number: int, before: Sequence[int] = ()) -> Program:
        """The same program with a state of its own, held at one step of the run.

        Args:
          number: of the step.
          before: numbers of the steps that are taken first.
        """
        new = copy.copy(self)
        new.state, new.initial_loss = jax.tree.map(jnp.copy, self.first), None
        for step_before in before:
            new.number = step_before
            new()
        new.number = number
        return new

    def __call__(self) -> float:
        """Takes the step; the loss before it."""
        if self.number is not None:
            self.state = self.state._replace(step=np.int32(self.number))
        self.state, loss = self.compiled(self.state, *self.rest)
        jax.block_until_ready(self.state)
        loss = float(loss)
        self.initial_loss = loss if self.initial_loss is None else self.initial_loss
        return loss


def base(folder: str, rows: int, length: int, dtype: str = "float32") -> Base:
    """A BERT from a folder, and random tokens without padding."""
    key = jax.random.key(0)
    config, model = models.load(folder, labels=LABELS, key=key, dtype=jnp.dtype(dtype))
    generator = np.random.default_rng(0)
    batch = {
        "input_ids": generator.integers(5, config.vocab_size, (rows, length)).astype(np.int32),
        "attention_mask": np.ones((rows, length), np.int32),
        "labels": generator.integers(0, LABELS, rows).astype(np.int32),
        "weight": np.ones(rows, np.float32),
    }
    net = network.from_module(model)
    return Base(folder, net, batch, config.hidden_size, config.intermediate_size, dtype)


def language(source: str, rows: int, length: int, dtype: str = "float32") -> Base:
    """A language model from a folder or a GGUF file, and random tokens, each to be foretold.

    Its layers are one traced layer in a loop, as `launch.train` has them.
    """
    key = jax.random.key(0)
    config, model = models.load(source, labels=0, key=key, dtype=jnp.dtype(dtype), scan=SCAN)
    ids = np.random.default_rng(0).integers(5, config.vocab_size, (rows, length)).astype(np.int32)
    batch = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "labels": np.concatenate([ids[:, 1:], np.full((rows, 1), IGNORED, np.int32)], axis=1),
        "weight": np.full(rows, length - 1, np.float32),
    }
    net = network.from_module(model, scan=SCAN)
    return Base(source, net, batch, config.hidden_size, config.intermediate_size, dtype)


def trained(base: Base, name: str, **options: Any) -> Program:
    """A step of a method with adapters on all attention and feed-forward maps, without dropout."""
    settings = optimiser.OptimiserConfig(learning_rate=RATE, schedule="constant", warmup=0)
    method = methods.make(MethodConfig(name, **options), settings, STEPS)
    head_tx = optimiser.optimiser(settings, STEPS)
    net = base.net
    first = state.start(method, net.kernels(net.adapted()), net.head(), head_tx, jax.random.key(0))
    first = packing.packed(first, net.runs)
    one = step.train_step(net, method, base.loss, head_tx, step.StepConfig(dropout=False))

    def reduced(state, params, batch):
        state, metrics = one(state, params, batch)
        return state, metrics["loss"]

    return Program(reduced, first, base)


def frozen(base: Base) -> Program:
    """Forward and backward of the frozen network that no adapter in every layer can avoid.

    The loss, and its derivatives by the head and by a constant added to the first layer's queries,
    keys and values: the way back passes the activations of every layer, and no kernel's gradient,
    no adapter and no optimiser is computed.
    """
    net = base.net
    paths = [
        path for path in net.adapted() if ".0." in path and path.endswith(("query", "key", "value"))
    ]
    kernels = net.kernels(tuple(paths))
    shift = {path: jnp.zeros(kernel.shape[1], kernel.dtype) for path, kernel in kernels.items()}

    def value(trained, params, batch):
        shift, head = trained

        def linear(path, x, kernel):
            y = matmul(x, kernel)
            return y + shift[path].astype(y.dtype) if path in shift else y

        ops = Ops(linear, lambda path, ids, table: table[ids])
        logits = net.forward({**params, **head}, step.inputs(batch), ops, None)
        return base.loss(logits, batch["labels"], batch["weight"])

    def gradient_step(both, params, batch):
        at, _ = both
        loss, gradients = jax.value_and_grad(value)(at, params, batch)
        return (at, gradients), loss

    at = (shift, net.head())
    return Program(gradient_step, jax.tree.map(jnp.copy, (at, at)), base)


def product(base: Base) -> tuple[Callable[[], Any], float]:
    """The network's largest product at its own shape, jitted and alone, and its flops."""
    rows, repeats = base.batch["input_ids"].size, 4
    x, kernel = (
        jax.random.normal(jax.random.key(0), shape, base.dtype)
        for shape in ((rows, base.hidden), (base.hidden, base.inner))
    )
    call = jax.jit(matmul)

    def run():
        for _ in range(repeats):
            y = call(x, kernel)
        return y.block_until_ready()

    return run, 2.0 * repeats * rows * base.hidden * base.inner


def sweep() -> tuple[Callable[[], Any], float]:
    """A sweep over an array too large for caches, and the bytes that it reads and writes."""
    x = jnp.zeros(2**24, jnp.float32)
    call = jax.jit(lambda x: x + 1)
    return lambda: call(x).block_until_ready(), 2.0 * x.nbytes
