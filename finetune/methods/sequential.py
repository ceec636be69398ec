"""One rank at a time: component k is trained for its budget, then frozen.

It is parallel deflation with one worker at work, whose level is the deployed network; so one pass
per step does.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
import numpy as np

from deflation import budgets
from finetune.adapters import levels
from finetune.adapters.gradient_start import StartOptions
from finetune.adapters.method import Gradients, Method, Run
from finetune.adapters.tables import each
from finetune.methods import option_texts as texts
from finetune.methods.parallel import assembled
from finetune.optimiser import rate
from finetune.ranks import scores
from rankwise import checks
from rankwise.options import option

BETA = 0.9
"""Of the averages of the test: they reach back over some twenty steps."""


@dataclasses.dataclass(frozen=True)
class SequentialConfig(StartOptions):
    """Settings of `sequential`; and `StartOptions`.

    Attributes:
      rank: R; None is 4, or the length of `path`; "auto" is None and a significance of 0.05.
      order: alpha of `deflation.budgets.alpha_family`; > 0 favours the first components.
      path: relative steps of the components instead, as (1, 3, 5).
      scale: of every component; the paper has 1, without alpha / r.
      std: standard deviation of the first a_k; the paper has 0.01.
      significance: level of a test at the end of each component's steps: by how much less the loss
        of a batch, which the component has not been trained on yet, is with it than without it,
        averaged over the last batches. A component that fails is taken out, and none follows; what
        remains of the run trains the head. None adds all.
    """

    rank: int | Literal["auto"] | None = option(None, f"{texts.RANK}; {texts.AUTO}")
    order: float = option(
        0.0, "exponent of the division of the steps: above 0 the first components get more"
    )
    path: tuple[float, ...] = option((), "relative numbers of steps of the components, as 1,3,5")
    scale: float = option(1.0, texts.SCALE)
    std: float = option(0.01, texts.STD)
    significance: float | None = option(None, texts.SIGNIFICANCE)

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "path", tuple(self.path))
        rank, level = scores.by_test(self.rank, self.significance)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "significance", level)
        if self.rank is not None:
            checks.integer("rank", self.rank, 1)
        if self.path and self.rank not in (None, len(self.path)):
            raise ValueError(
                f"path has {len(self.path)} entries; allowed are {self.rank}, the rank"
            )

        for entry in self.path:
            checks.positive("path", entry)
        checks.positive("scale", self.scale)
        checks.positive("std", self.std)
        if self.significance is not None:
            scores.require_level("significance", self.significance)

    def steps(self, total: int) -> tuple[int, ...]:
        """Steps of each component in a run of `total`, the first component first.

        Raises:
          ValueError: fewer steps than components.

        Example:
          >>> SequentialConfig(path=(1, 3, 5)).steps(90)
          (10, 30, 50)
        """
        if self.path:
            return path_steps(self.path, total)
        rank = self.rank or 4
        least = min(2, max(total // rank, 1))
        return budgets.alpha_family(rank, total, self.order, minimum=least).steps


def path_steps(path: tuple[float, ...], total: int) -> tuple[int, ...]:
    """Steps of every component when epochs are spent as in `path`, such as (1, 3, 5).

    Whole numbers >= 1 that are proportional to the path and sum to `total`.

    Raises:
      ValueError: an entry that is not > 0, or a total below the number of components.

    Example:
      >>> path_steps((1, 3, 5), 90)
      (10, 30, 50)
    """
    for entry in path:
        checks.positive("path", entry)
    total = checks.integer("steps", total, len(path), why=" (one per component)")
    ends = np.round(np.cumsum(path) / np.sum(path) * total).astype(int)
    # Where rounding leaves a component nothing, it takes a step from its successors.
    least = np.arange(1, len(path) + 1)
    ends = np.minimum(np.maximum.accumulate(np.maximum(ends, least) - least), total - len(path))
    return tuple(int(n) for n in np.diff(ends + least, prepend=0))


def sequential(config: SequentialConfig, run: Run) -> Method:
    """min over (a_k, b_k) of L(W + s sum_{j<k} a_j b_j + s a_k b_k), for k = 1, ..., R in turn.

    Every component has fresh moments and a learning rate schedule over its own steps. The head, if
    it is trained, is trained throughout. After the last component's steps, the last goes on.

    Args:
      config: the settings.
      run: its clip bounds the norm of the current component's gradient.

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out)}, aux as in `levels`.

    Raises:
      ValueError: fewer steps than components.

    Source: arXiv 2505.22602, section 3 and its experiments with LoRA.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = sequential(SequentialConfig(path=(5, 3)), Run(OptimiserConfig(), 8))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> aux["fc"]["gain"].tolist()
      [1.0, 0.0]
    """
    steps = np.asarray(config.steps(run.total))
    size, ends = len(steps), np.cumsum(steps)
    begins = ends - steps

    def current(step):
        return jnp.minimum(jnp.sum(step >= jnp.asarray(ends, jnp.int32)), size - 1)

    def schedule(step):
        k = current(step)
        local = step - jnp.asarray(begins, jnp.int32)[k]
        return rate(run.optimiser, local, jnp.asarray(steps, jnp.int32)[k])

    def prepare(key, kernels, gradients):
        theta = config.first(key, kernels, gradients, size, config.std, config.scale)
        aux = levels.initial(theta, config.scale, 1, 0)
        return theta, aux if config.significance is None else scores.initial(aux)

    def grads(objective, theta, aux, head, step, key):
        del key
        index = levels.everywhere(aux, current(step))
        now = levels.Snapshot(objective, theta, aux, head)
        value, rows, of_head = levels.with_head(now, index, run.optimiser.clip)
        active = each(lambda k, e: (jnp.arange(size) == k) & levels.trainable(e), index, aux)
        info = {"active": active}
        if config.significance is not None:
            before = levels.with_rank(aux, current(step))
            info["gained"] = objective.loss(theta, before, head) - value
        return Gradients(value, levels.placed(rows, index, theta), of_head, info)

    def post(theta, aux, opt, info):
        own, following = (current(step) + 1 for step in (info.step, info.step + 1))
        if config.significance is None:
            return theta, levels.with_rank(aux, following), opt
        # One number for all modules, as a component is of all of them.
        gained = each(lambda entry: info.extra["gained"], aux)
        aux = scores.averaged(aux, gained, BETA, jnp.ones((), bool), jnp.square)
        entry = next(iter(aux.values()))
        averages = (entry["sensitivity"], entry["variability"])
        passes = scores.beyond_noise(*averages, BETA, config.significance)
        over = jnp.any(info.step + 1 == jnp.asarray(ends, jnp.int32))
        following = jnp.where(over & ~passes, own - 1, following)
        ended = entry["rank"] < own
        aux = levels.with_rank(aux, jnp.where(ended, entry["rank"], following))
        # Those of the next component begin anew.
        return theta, each(lambda entry: scores.forgotten(entry, over), aux), opt

    return assembled(
        "sequential", prepare, grads, post, run.direction, schedule, config.of_gradient
    )
