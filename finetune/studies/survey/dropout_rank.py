"""How dropout lowers the rank of what a network computes, on a linear teacher.

y = x M with x ~ N(0, I_d) and M of rank r; the network has d-d-d-d features and dropout after each
hidden layer. Counted are the singular values of its outputs and of its first features on fresh
examples, without dropout, that exceed 2 per cent of the largest; those of the outputs are kept over
training too.

Source: arXiv 2503.19859, Figures 2 and 9. The survey does not say how M is drawn: here it is the
best rank-r approximation of a Gaussian matrix, over sqrt(d). A flatter spectrum keeps more values
at moderate rates, a steeper one fewer.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.models.dense import DenseConfig
from finetune.models.initialise import initialise
from finetune.studies.survey.descent import descend, pure, singular_values
from rankwise import checks

NETWORKS = {"dln": "identity", "relu": "relu"}
THRESHOLD = 0.02
LOSSES = ("sum", "mean")


@dataclasses.dataclass(frozen=True)
class DropoutSetting:
    """One size of the experiment; the defaults are the survey's.

    Attributes:
      width, rank: d and r above.
      rates: of dropout.
      batch_size: fresh examples in a step.
      steps, learning_rate: of SGD.
      loss: squared error, "mean" over the outputs or their "sum"; the mean takes `width` times as
        many steps.
      examples: whose outputs the values are taken of.
      snapshots: times at which that happens after the first, at equal distances.
      seeds: of teacher, start, examples and masks; all rates share them.

    Raises:
      ValueError: an entry outside its range.
    """

    width: int = 20
    rank: int = 15
    rates: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8)
    batch_size: int = 1024
    steps: int = 30000
    learning_rate: float = 1e-2
    loss: str = "mean"
    examples: int = 1024
    snapshots: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self):
        checks.integer("rank", self.rank, 1, self.width)
        for name in ("batch_size", "steps"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("snapshots", self.snapshots, 1, self.steps)
        checks.integer("examples", self.examples, self.width)
        checks.positive("learning_rate", self.learning_rate)
        checks.choice("loss", self.loss, LOSSES)
        for rate in self.rates:
            if not 0 <= rate < 1:
                raise ValueError(f"rates has {rate}; allowed are numbers in [0, 1)")


def teacher(key: jax.Array, width: int, rank: int) -> jax.Array:
    """The best rank-r approximation of a Gaussian matrix over sqrt(width), (width, width)."""
    gauss = jax.random.normal(key, (width, width)) / width**0.5
    u, s, vt = jnp.linalg.svd(gauss)
    return (u[:, :rank] * s[:rank]) @ vt[:rank]


def dropout_rank(
    setting: DropoutSetting, tick: Callable[[], None] = lambda: None
) -> dict[str, np.ndarray]:
    """The singular values of the outputs by rate, for a deep linear and a ReLU network.

    Args:
      tick: called after every network and seed.

    Returns:
      rates (R,), seeds (S,), course_steps (T,), and for "dln" and "relu": NAME_values (S, R, d) of
      the outputs and NAME_first_values (S, R, d) of the first features, NAME_counts (S, R) and
      NAME_first_counts (S, R), NAME_course (S, R, T, d) of the outputs over training, NAME_error
      (S, R), the squared error per example in units of ||M||_F^2.

    Example:
      >>> sizes = {"width": 4, "rank": 2, "batch_size": 8, "examples": 8}
      >>> result = dropout_rank(DropoutSetting(**sizes, steps=3, snapshots=3, seeds=(0,)))
      >>> result["dln_values"].shape, result["course_steps"].tolist()
      ((1, 5, 4), [0, 1, 2, 3])
    """
    arrays = {"rates": np.asarray(setting.rates), "seeds": np.asarray(setting.seeds)}
    chunk = setting.steps // setting.snapshots
    arrays["course_steps"] = setting.steps - chunk * np.arange(setting.snapshots, -1, -1)
    for name, activation in NETWORKS.items():
        fit = _program(setting, activation)
        runs = []
        for seed in setting.seeds:
            runs.append([np.asarray(part) for part in fit(jax.random.key(seed))])
            tick()
        first, course, error = map(np.stack, zip(*runs, strict=True))
        values = course[:, :, -1]
        arrays |= {f"{name}_values": values, f"{name}_counts": count(values)}
        arrays |= {f"{name}_first_values": first, f"{name}_first_counts": count(first)}
        arrays |= {f"{name}_course": course, f"{name}_error": error}
    return arrays


def count(values: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """How many values (..., k) exceed the threshold times the largest, (...).

    Example:
      >>> int(count(np.array([5.0, 1.0, 0.09, 0.0])))
      2
    """
    return (values > threshold * values.max(axis=-1, keepdims=True)).sum(axis=-1)


@functools.lru_cache(maxsize=4)
def _program(setting: DropoutSetting, activation: str):
    """key -> singular values of the first features (R, d) and of the outputs over training
    (R, T, d), and errors (R,); compiled once for all seeds and rates."""
    width, chunk = setting.width, setting.steps // setting.snapshots
    config = DenseConfig(
        num_labels=width, input_size=width, hidden_size=width, activation=activation
    )
    tx = optax.sgd(setting.learning_rate)
    reduce = jnp.sum if setting.loss == "sum" else jnp.mean
    forward, first = pure(initialise(config, jax.random.key(0)))
    structure = jax.tree.structure(first)

    def fit(key):
        for_teacher, for_start, for_steps, for_test = jax.random.split(key, 4)
        target = teacher(for_teacher, width, setting.rank)
        # The uniform start of torch, which `initialise` draws too, from this seed.
        starts = jax.random.split(for_start, structure.num_leaves)
        drawn = [jax.random.uniform(k, (width, width), minval=-1) / width**0.5 for k in starts]
        params = jax.tree.unflatten(structure, drawn)
        keys = jax.random.split(for_steps, setting.steps)
        rest = setting.steps - chunk * setting.snapshots
        chunks = keys[rest:].reshape(setting.snapshots, chunk)
        test = jax.random.normal(for_test, (setting.examples, width))

        def run_at(rate):
            def loss(params, key):
                for_x, for_masks = jax.random.split(key)
                x = jax.random.normal(for_x, (setting.batch_size, width))
                y = forward(params, {"pixels": x}, key=for_masks, rate=rate).logits
                return reduce(jnp.square(y - x @ target), axis=1).mean()

            def look(params):
                out = forward(params, {"pixels": test})
                return out.hidden_states[1], out.logits

            def onward(state, keys):
                state = descend(loss, tx, *state, keys)[:2]
                return state, singular_values(look(state[0])[1])

            state = descend(loss, tx, params, tx.init(params), keys[:rest])[:2]
            start = singular_values(look(state[0])[1])
            (trained, _), course = jax.lax.scan(onward, state, chunks)
            first, y = look(trained)
            error = jnp.square(y - test @ target).sum(axis=1).mean() / jnp.square(target).sum()
            return singular_values(first), jnp.concatenate([start[None], course]), error

        # The keys are not mapped: all rates see the same examples and the same uniform draws.
        return jax.vmap(run_at)(jnp.asarray(setting.rates))

    return jax.jit(fit)
