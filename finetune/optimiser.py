"""AdamW or plain descent, and the learning rate as a function of the step.

The rate is not part of the optimiser's state: it is a function of the step number, which the
training loop hands to every transformation. So nothing has to be counted twice, and a method that
restarts (one component after the other) only needs another function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from rankwise import checks
from rankwise.options import option

Rate = Callable[[jax.Array], jax.Array]
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("linear", "cosine", "constant")


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """Settings of the optimiser: "adamw", or "sgd" with neither moments nor decay."""

    name: str = option("adamw", "optimiser of adapter and head", OPTIMISERS)
    learning_rate: float = option(1e-3, "largest learning rate of the schedule", lower=0)
    schedule: str = option(
        "linear",
        "course of the learning rate after the warm-up: linear or cosine to 0, or constant",
        SCHEDULES,
    )
    warmup: float = option(
        0.06, "steps of linear warm-up; below 1 it is a share of all steps", lower=0
    )
    weight_decay: float = option(0.0, "decoupled weight decay of adamw", lower=0)
    clip: float = option(
        1.0, "largest global norm of the gradients, which are clipped to it; 0 for none", lower=0
    )
    beta1: float = option(0.9, "decay rate of adamw's mean of gradients, per step")
    beta2: float = option(0.999, "decay rate of adamw's mean of squared gradients, per step")
    epsilon: float = option(1e-8, "added to the root of the mean that adamw divides by")
    renew_every: int | None = option(
        None,
        "steps after which the optimiser's moments and the schedule begin anew; by default never",
        lower=1,
    )

    def __post_init__(self):
        checks.choice("optimiser", self.name, OPTIMISERS)
        checks.choice("schedule", self.schedule, SCHEDULES)
        checks.positive("learning_rate", self.learning_rate)
        for name in ("warmup", "weight_decay", "clip"):
            checks.positive(name, getattr(self, name), zero=True)
        if self.renew_every is not None:
            checks.integer("renew_every", self.renew_every, 1)


def direction(config: OptimiserConfig) -> optax.GradientTransformation:
    """The optimiser for a rate of -1: what is added to the parameters, divided by -rate."""
    if config.name == "sgd":
        return optax.identity()
    adamw = optax.chain(
        optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
        optax.add_decayed_weights(config.weight_decay),
    )
    return adamw if config.renew_every is None else renewed(adamw, config.renew_every)


def renewed(inner: optax.GradientTransformation, every: int) -> optax.GradientTransformation:
    """`inner` from its first state again after every so many updates.

    Example:
      >>> tx = renewed(optax.scale_by_schedule(lambda count: count), every=2)
      >>> state, updates = tx.init(jnp.ones(())), []
      >>> for _ in range(5):
      ...     update, state = tx.update(jnp.ones(()), state)
      ...     updates.append(float(update))
      >>> updates
      [0.0, 1.0, 0.0, 1.0, 0.0]
    """

    def init(params):
        return inner.init(params), jnp.zeros((), jnp.int32)

    def update(updates, state, params=None):
        state, count = state
        begins = count % every == 0
        fresh = inner.init(updates if params is None else params)
        state = jax.tree.map(lambda new, old: jnp.where(begins, new, old), fresh, state)
        updates, state = inner.update(updates, state, params)
        return updates, (state, count + 1)

    return optax.GradientTransformation(init, update)


def warm_up(config: OptimiserConfig, total) -> jax.Array:
    """w, the steps of warm-up in a run of `total` steps, which may be traced; a whole float32.

    Example:
      >>> [float(warm_up(OptimiserConfig(warmup=warmup), 110)) for warmup in (0.06, 5)]
      [6.0, 5.0]
    """
    total = jnp.asarray(total, jnp.float32)
    return jnp.floor(config.warmup * total if config.warmup < 1 else config.warmup + 0 * total)


def rate(config: OptimiserConfig, step, total, warmup=None) -> jax.Array:
    """The learning rate of step 0 <= t < T, float32.

    eta min(1, (t + 1) / w) times 1, (T - t) / (T - w) or (1 + cos(pi (t - w) / (T - w))) / 2 once
    t >= w, the warm-up. With `renew_every`, t and T are those of the part that the step is in.

    Args:
      config: the settings.
      step, total: t and T, may be traced.
      warmup: w in place of the settings', may be traced.

    Example:
      >>> config = OptimiserConfig(learning_rate=1.0, warmup=2)
      >>> [float(rate(config, t, 6)) for t in range(6)]
      [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    step = jnp.asarray(step, jnp.float32)
    total = jnp.asarray(total, jnp.float32)
    if config.renew_every is not None:
        local = step % config.renew_every
        step, total = local, jnp.minimum(config.renew_every, total - (step - local))
    warmup = warm_up(config, total) if warmup is None else warmup
    rising = jnp.minimum(1, (step + 1) / jnp.maximum(warmup, 1))
    left = jnp.clip((total - step) / jnp.maximum(total - warmup, 1), 0, 1)
    if config.schedule == "constant":
        left = jnp.ones_like(left)
    elif config.schedule == "cosine":
        left = (1 - jnp.cos(jnp.pi * left)) / 2
    return config.learning_rate * jnp.where(step < warmup, rising, left)


def by_rate(rate_of: Rate) -> optax.GradientTransformationExtraArgs:
    """Multiplies by -rate_of(step), `step` being the keyword argument of the update."""

    def update(updates, state, params=None, *, step, **_):
        del params
        size = -rate_of(step)
        return jax.tree.map(lambda u: size.astype(u.dtype) * u, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def optimiser(config: OptimiserConfig, total: int) -> optax.GradientTransformationExtraArgs:
    """The plain optimiser of a run of `total` steps."""
    return optax.chain(direction(config), by_rate(lambda step: rate(config, step, total)))


def clipped(tree, norm: float):
    """(tree scaled down to a global norm of at most `norm`, its global norm before)."""
    size = optax.tree.norm(tree)
    if not norm:
        return tree, size
    factor = norm / jnp.maximum(size, norm)
    return jax.tree.map(lambda leaf: leaf * factor.astype(leaf.dtype), tree), size
