"""The methods of `finetune` on a model and a loss of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from finetune.host import choosing
from finetune.host.adapted import Adapted
from finetune.host.model import parts
from finetune.host.network import examined, host_network
from finetune.methods import MethodConfig, make
from finetune.optimiser import OptimiserConfig
from finetune.optimiser import optimiser as make_optimiser
from finetune.training.step import StepConfig, train_step
from rankwise import checks


def adapt(
    loss: Callable[..., jax.Array],
    model: Any,
    batch: Any,
    method: str = "lora",
    *,
    steps: int,
    modules: str | None = None,
    train: Sequence[str] = (),
    learning_rate: float | None = None,
    optimiser: OptimiserConfig | None = None,
    clip: float | None = None,
    accumulate: int = 1,
    dropout: float = 0.0,
    mesh: jax.sharding.Mesh | None = None,
    **options: Any,
) -> Adapted:
    """A method of fine-tuning on a model and a loss of your own: min over theta of L(W + D(theta)).

    The model is never changed. Where the loss multiplies by one of the chosen kernels, the method
    computes that product; nothing has to be rewritten.

    Args:
      loss: (model, batch) -> scalar, or (model, batch, key) with randomness; pure, traceable by
        jax.jit. Random streams of an nnx model advance with every step by themselves.
      model: an nnx.Module, or any pytree of arrays (flax's variables, an equinox module, a dict).
      batch: one batch, a pytree with rows in front, or its shapes; only shapes are read.
      method: one of `METHODS`.
      steps: of the whole run; schedules and growth are parts of it.
      modules: regular expression in the names of kernels; None takes all that enter products but
        those of `train`.
      train: regular expressions of parameters that are trained whole, such as a new head.
      learning_rate, clip: of the optimiser; None leaves what `optimiser` says.
      optimiser: the optimiser and its schedule; None for AdamW.
      accumulate: parts that a batch is cut into, one after the other.
      dropout: rate on the input of every adapter.
      mesh: with an axis "level", deals the levels of parallel and adapad out on it.
      options: settings of the method, as rank=4. Of a method that starts from a gradient,
        gradient_batches is how many of the batches of `Adapted.init` are read.

    Returns:
      What trains, evaluates, merges, saves and exports it.

    Raises:
      ValueError: no kernel matches; a chosen one enters no product (a convolution); its dtype is
        below float32 and it is used other than in products; the loss changes the model (BatchNorm
        in training mode); gradient_batch_size or gradient_shuffled, which batches of one's own
        have settled; what the method refuses.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
      >>> batch = {"x": jnp.ones((8, 4)), "y": jnp.arange(24.0).reshape(8, 3)}
      >>> def loss(model, batch):
      ...     return jnp.mean((model(batch["x"]) - batch["y"]) ** 2)
      >>> tuned = adapt(loss, model, batch, "lora", steps=30, rank=2)
      >>> state = tuned.init(jax.random.key(0))
      >>> for _ in range(30):
      ...     state, metrics = tuned.step(state, batch)
      >>> tuned.ranks(state), type(tuned.merge(state)).__name__
      ({'kernel': 2}, 'Linear')
      >>> bool(loss(tuned.merge(state), batch) < loss(model, batch))
      True
    """
    steps = checks.integer("steps", steps, 1)
    config = MethodConfig(method, **options)
    for name in ("gradient_batch_size", "gradient_shuffled"):
        if options.get(name) is not None:
            raise ValueError(
                f"{name} is {options[name]!r}; allowed is none, as init(key, batches=...) is given "
                "the batches as they are: leave it out"
            )
    if optimiser is not None:
        checks.instance("optimiser", optimiser, OptimiserConfig, "an OptimiserConfig")
    given = {"learning_rate": learning_rate, "clip": clip}
    own = dataclasses.replace(
        optimiser or OptimiserConfig(), **{n: v for n, v in given.items() if v is not None}
    )
    built = make(config, own, steps, mesh=mesh)
    _require_rows(batch, checks.integer("accumulate", accumulate, 1))
    taken = parts(model)
    heads = choosing.whole(train, taken.params)
    discovered = examined(loss, taken, batch)
    arrays = {**taken.params, **taken.rest}
    choice = choosing.chosen(discovered, arrays, modules, heads, built)
    network = host_network(loss, taken, choice, heads)
    head_tx = make_optimiser(own, steps)
    step_config = StepConfig(own.clip, accumulate, True, dropout)
    update = train_step(network, built, None, head_tx, step_config)
    count = options.get("gradient_batches")
    own = dict(sorted(choice.items())), network.params, built, config
    return Adapted(*own, network, taken, head_tx, update, count)


def _require_rows(batch: Any, count: int) -> None:
    """Refuses a batch that cannot be cut into so many parts."""
    if count == 1:
        return
    rows = {leaf.shape[0] if leaf.shape else None for leaf in jax.tree.leaves(batch)}
    if len(rows) != 1 or None in rows or next(iter(rows)) % count:
        raise ValueError(
            f"accumulate is {count}, and the arrays of the batch have {sorted(rows, key=str)} rows "
            "in front; allowed is one number of rows that it divides"
        )
