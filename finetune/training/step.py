"""One training step, and prediction, as pure functions of (state, parameters, batch)."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.factors import path_key
from finetune.adapters.method import Gradients, Info, Leaves, Method, Objective, Pieces, Tree
from finetune.models.parts.layered import Layered
from finetune.models.parts.layers import dropout
from finetune.models.parts.ops import Ops
from finetune.optimiser import OptimiserConfig, clipped
from finetune.training.adapted_ops import adapted
from finetune.training.network import Network, Params
from finetune.training.state import TrainState
from rankwise import checks
from rankwise.options import option, option_of

Batch = Mapping[str, Any]
LABELS = ("labels", "weight")
Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array] | None
"""(logits, labels, weight) -> mean over the batch; None for a network that returns its loss.

That of a language model is a sum over tokens, divided by sum(weight).
"""


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """Settings of `train_step`."""

    clip: float = option_of(OptimiserConfig, "clip")
    accumulate: int = option(
        1, "equal parts that a batch is cut into, computed one after the other", lower=1
    )
    dropout: bool = option(True, "apply the model's own dropout")
    adapter_dropout: float = option(
        0.0, "dropout rate on the input of every adapter", lower=0, upper=0.99
    )

    def __post_init__(self):
        checks.integer("accumulate", self.accumulate, 1)
        rate = self.adapter_dropout
        if isinstance(rate, bool) or not isinstance(rate, numbers.Real) or not 0 <= rate <= 0.99:
            raise ValueError(f"dropout is {checks.shown(rate)}; allowed are numbers from 0 to 0.99")


def train_step(
    network: Network,
    method: Method,
    loss: Loss,
    head_tx: optax.GradientTransformation,
    config: StepConfig,
) -> Callable[[TrainState, Params, Batch], tuple[TrainState, Leaves]]:
    """The function (state, params, batch) -> (state, metrics) to be compiled.

    theta <- theta + tx(clip(grad (L + regulariser))), the same for the head, then the method's
    `post`. A method with a step of its own replaces all of it.

    Args:
      loss: (logits, labels, weight) -> mean over the batch; its parts are weighed by sum(weight).
        None for a network whose forward pass is its loss, of any pytree with rows in front.

    Returns:
      A function whose metrics are loss, gradient_norm, and the method's `levels` where it has them.
    """
    if method.step is not None:

        def target(paths, params, batch, key):
            return objective(network, method, loss, paths, params, batch, config, key)

        return method.step(Pieces(target, head_tx, config.clip, config.accumulate))

    def step(state: TrainState, params: Params, batch: Batch):
        key = step_key(state)
        gradients = _accumulated(network, method, loss, config, state, params, batch, key)
        return advance(method, gradients, state, head_tx, config.clip)

    return step


def step_key(state: TrainState) -> jax.Array:
    """The key of the step that `state` stands before."""
    return jax.random.fold_in(state.key, state.step)


def advance(
    method: Method,
    gradients: Gradients,
    state: TrainState,
    head_tx: optax.GradientTransformation,
    clip: float = 0.0,
) -> tuple[TrainState, Leaves]:
    """The state one step on, from gradients: everything of a method's step, for any loop.

    theta <- theta + tx(clip(grad (L + regulariser))), the same for the head, then the method's
    `post`, which is where ranks grow, masks move and moments are reset. A loop that calls `tx`
    itself trains something else: AdaPaD stays at rank one. Not for methods with `Method.step`.

    Args:
      gradients: of `Method.grads`, whose key is `step_key(state)`.
      head_tx: as the state was made with by `finetune.training.state.start`.
      clip: largest global norm of the gradients, 0 for none.

    Returns:
      The state, and the metrics: loss, gradient_norm, and the method's `levels` where it has them.

    Raises:
      ValueError: a method that has a whole step of its own.

    Example:
      >>> from finetune import methods
      >>> from finetune.adapters.method import Objective
      >>> from finetune.optimiser import OptimiserConfig
      >>> from finetune.training.state import start
      >>> method = methods.make(methods.MethodConfig("adapad", rank=3), OptimiserConfig(), total=20)
      >>> kernels, target = {"fc": jnp.zeros((4, 5))}, jax.random.normal(jax.random.key(1), (4, 5))
      >>> def loss(theta, aux, head, changed=None):
      ...     kernel = (changed or kernels)["fc"]
      ...     y = method.apply(jnp.eye(4), kernel, theta["fc"], aux["fc"], lambda x: x)
      ...     return jnp.mean((y - target) ** 2)
      >>> @jax.jit
      ... def one_step(state):
      ...     problem = Objective(loss, lambda: kernels)
      ...     parts = (state.theta, state.aux, state.head, state.step, step_key(state))
      ...     return advance(method, method.grads(problem, *parts), state, optax.identity())
      >>> state = start(method, kernels, {}, optax.identity(), jax.random.key(0))
      >>> for _ in range(20):
      ...     state, metrics = one_step(state)
      >>> int(state.aux["fc"]["rank"])
      2
    """
    if method.step is not None:
        raise ValueError(f"method {method.name!r} has a step of its own; use `train_step`")
    extra = jax.grad(method.regulariser)(state.theta, state.aux)
    of_theta = jax.tree.map(jnp.add, gradients.theta, extra)
    if method.own_clipping:
        of_head, head_norm = clipped(gradients.head, clip)
        norm = jnp.hypot(optax.tree.norm(of_theta), head_norm)
    else:
        (of_theta, of_head), norm = clipped((of_theta, gradients.head), clip)
    info = gradients.info
    updates, opt = method.tx.update(of_theta, state.opt, state.theta, step=state.step, **info)
    theta = optax.apply_updates(state.theta, updates)
    head_tx = optax.with_extra_args_support(head_tx)
    updates, head_opt = head_tx.update(of_head, state.head_opt, state.head, step=state.step)
    head = optax.apply_updates(state.head, updates)
    key = jax.random.fold_in(step_key(state), 1)
    learnt = Info(state.step, key, of_theta, info)
    theta, aux, opt = method.post(theta, state.aux, opt, learnt)
    metrics = {"loss": gradients.loss, "gradient_norm": norm}
    if "levels" in info:
        metrics["levels"] = info["levels"]
    return TrainState(theta, aux, head, opt, head_opt, state.step + 1, state.key), metrics


def logits(network: Network, params: Params, ops: Ops, batch: Batch) -> jax.Array:
    """What a network says of a batch, without dropout: (b, k), of language models (b, T, V)."""
    return network.forward(params, inputs(batch), ops, None)


def predict(
    network: Network, method: Method, answer: Callable[..., Any] = logits
) -> Callable[..., Any]:
    """The function (theta, aux, head, params, batch) -> answer, without dropout.

    Args:
      answer: (network, params, ops, batch) -> what is kept of a batch; a task's `answer`.
    """

    def answered(theta: Tree, aux: Tree, head: Leaves, params: Params, batch: Batch):
        return answer(network, params | head, adapted(method, theta, aux), batch)

    return answered


def loss_of(
    network: Network,
    loss: Loss,
    params: Params,
    batch: Any,
    ops: Ops,
    key: jax.Array | None,
) -> jax.Array:
    """The loss of a batch, with dropout from the key."""
    if loss is None:
        return network.forward(params, batch, ops, key)
    labels, weight = batch["labels"], batch["weight"]
    if network.states is None:
        return loss(network.forward(params, inputs(batch), ops, key), labels, weight)

    def part(logits, labels):
        return loss(logits, labels["labels"], weight)

    each = network.by_tokens(part, params, inputs(batch), {"labels": labels}, ops, key)
    return jnp.sum(each)


def objective(
    network: Network,
    method: Method,
    loss: Loss,
    paths: tuple[str, ...],
    params: Params,
    batch: Batch,
    config: StepConfig,
    key: jax.Array | None,
) -> Objective:
    """The loss of one batch as a function of what is trained."""
    model_key = adapter_key = None
    if key is not None:
        model_key = jax.random.fold_in(key, 2) if config.dropout else None
        adapter_key = jax.random.fold_in(key, 3) if config.adapter_dropout else None

    def drop(path, x):
        return dropout(x, config.adapter_dropout, path_key(adapter_key, path))

    def value(theta, aux, head, kernels=None):
        ops = adapted(method, theta, aux, kernels, None if adapter_key is None else drop)
        return loss_of(network, loss, params | head, batch, ops, model_key)

    def kernels():
        if isinstance(params, Layered):  # without cutting out what the method takes together
            return params.picked({f"{path}.weight": path for path in paths})
        return network.kernels(paths, params)

    return Objective(value, kernels)


def _accumulated(network, method, loss, config, state, params, batch, key) -> Gradients:
    paths = tuple(state.theta)

    def part(batch, key) -> Gradients:
        target = objective(network, method, loss, paths, params, batch, config, key)
        return method.grads(target, state.theta, state.aux, state.head, state.step, key)

    if config.accumulate == 1:
        return part(batch, key)
    count = config.accumulate
    cut = jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), batch)
    keys = jax.random.split(key, count)
    gradients = jax.lax.map(lambda both: part(*both), (cut, keys))
    size = jnp.ones(count) if loss is None else jnp.sum(cut["weight"], axis=1)
    share = size / jnp.maximum(jnp.sum(size), 1)

    def joined(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf[-1]
        return jnp.tensordot(share.astype(leaf.dtype), leaf, axes=1)

    return jax.tree.map(joined, gradients)


def inputs(batch: Batch) -> dict[str, Any]:
    """The batch as the network sees it."""
    return {name: leaf for name, leaf in batch.items() if name not in LABELS}
