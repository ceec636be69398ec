"""AdaPaD: parallel deflation in which every module's rank grows as far as it pays.

The published description leaves open how often ranks grow, the constants of the averages, how many
modules grow at a time and how the phases share the steps. What is marked [choice] below is ours.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp

from finetune.adapters import levels, tables
from finetune.adapters.late import LateOptions
from finetune.adapters.levels import Snapshot
from finetune.adapters.method import Gradients, Leaves, Method, Run, Tree
from finetune.adapters.tables import column, each
from finetune.methods import option_texts as texts
from finetune.methods.parallel import WAYS, assembled
from finetune.optimiser import clipped
from finetune.ranks import scores
from finetune.ranks.deployed import DENSE, SCORES, Deployed, deployed, unscored
from finetune.ranks.growth import LEAST, Growth, plan
from rankwise import checks
from rankwise.options import option

PHASES = ("parallel", "split", "joint")
HEADS = ("deployed", "own")


@dataclasses.dataclass(frozen=True)
class AdapadConfig(LateOptions):
    """Settings of `adapad`; and `LateOptions`.

    Attributes:
      rank: R, the largest rank of a module; None as in `room.largest`, at least 4; "auto" is that
        and a significance of 0.05.
      budget: components over all modules together; None is two per module [choice].
      phase: "joint" trains all published components against one loss, as in LoRA, and the private
        ones against another; "parallel" all levels in every step, each against its own; "split" one
        level per step, `cycle` steps each in turn, the private one last. [choice: on teachers of
        known ranks "joint" is ahead at equal steps and at equal time, see the figure known_ranks.]
      advance: the next component of every module trains in private until it is published.
      private_every: with "joint", steps between those in which the private components train too,
        in a pass of their own, which doubles what a step takes; None is 2, and 1 elsewhere [choice:
        on teachers of known ranks every second step does as well as every one].
      every: steps between growths, Delta; None lets growth end at 60% of the run [choice].
      grow: modules that grow at a time; None is a ninth of them, rounded up [choice].
      score: see `scores`; None is "decrease", or "effective" where nothing trains in private
        [choice: "decrease" places most components of teachers of known ranks rightly, "effective"
        fewer than the same rank everywhere does, see known_ranks; "added" is the description's].
      score_every: steps between scores of the kinds "effective", "added" and "decrease"; None is 5
        where they cost a pass (dense gradients, or a head that learns from its level), and 1 of
        "decrease" otherwise, which costs next to nothing beside the deployed loss [choice].
      significance: level of `scores.significant`, at which modules may grow; None lets them grow
        whatever the noise, until the budget is spent.
      beta: of both averages, per step [choice, AdaLoRA's].
      scale: s, of every component, whatever the rank [choice].
      std: standard deviation of the first a_k; b_k = 0 [choice].
      cycle: steps per level of the phase "split" [choice].
      head_loss: the network whose loss gives the head's gradient and is reported: the "deployed"
        one, in a forward pass of its own; or in the phase "split" the level's "own", from the pass
        that trains the level, which makes a step as cheap as LoRA's [choice].
      way: see `levels.every`.
    """

    rank: int | Literal["auto"] | None = option(
        None, f"{texts.LARGEST_RANK}; {texts.ROOM} {LEAST}; {texts.AUTO}"
    )
    budget: int | None = option(None, texts.BUDGET)
    phase: str = option(
        "joint",
        "components that a step trains: all published ones against one loss (joint), those of all "
        "levels, each against its own (parallel), or those of one level (split)",
        PHASES,
    )
    advance: bool = option(True, texts.ADVANCE)
    private_every: int | None = option(None, texts.PRIVATE_EVERY)
    every: int | None = option(None, texts.EVERY)
    grow: int | None = option(None, texts.GROW)
    score: str | None = option(
        None,
        "score by which the modules that grow are chosen; by default decrease, that of the loss, "
        "or effective without private components",
        scores.KINDS,
    )
    score_every: int | None = option(
        None, f"{texts.SCORE_EVERY}; by default 5 where they cost a pass of their own, else 1"
    )
    significance: float | None = option(None, texts.SIGNIFICANCE)
    beta: float = option(0.85, texts.BETA)
    scale: float = option(1.0, texts.SCALE)
    std: float = option(0.02, texts.STD)
    cycle: int = option(10, "optimiser steps per level of --phase=split")
    head_loss: str = option(
        "deployed",
        "network whose loss trains the head; own, that of the level, needs --phase=split",
        HEADS,
    )
    way: str = option("in_turn", texts.WAY, WAYS)

    def __post_init__(self):
        super().__post_init__()
        rank, level = scores.by_test(self.rank, self.significance)
        score = self.score or ("decrease" if self.advance else "effective")
        often = 2 if self.phase == "joint" else 1
        often = often if self.private_every is None else self.private_every
        settled = {"rank": rank, "significance": level, "score": score, "private_every": often}
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        choices = {"head_loss": HEADS, "phase": PHASES, "score": scores.KINDS, "way": WAYS}
        for name, allowed in choices.items():
            checks.choice(name, getattr(self, name), allowed)
        for name in ("rank", "private_every", "cycle", "budget", "every", "grow", "score_every"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)
        if self.significance is not None:
            scores.require_level("significance", self.significance)
            if not self.beta:
                raise ValueError(
                    f"beta is 0 with significance {self.significance}; allowed is more than 0, as "
                    "noise is measured over batches"
                )
            if self.score != "decrease":
                raise ValueError(
                    f"significance is {self.significance} with score {self.score!r}; allowed is "
                    "'decrease', whose noise is known"
                )
        for name in ("scale", "std"):
            checks.positive(name, getattr(self, name))
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta is {self.beta}; allowed are numbers in [0, 1)")
        if often > 1 and self.phase != "joint":
            raise ValueError(f"private_every is {often} with phase {self.phase!r}; allowed is 1")
        if self.head_loss == "own" and self.phase != "split":
            raise ValueError(f"head_loss is 'own' with phase {self.phase!r}; allowed is 'split'")
        if self.score in scores.OF_PRIVATE and not self.advance:
            raise ValueError(f"score is {self.score!r} with advance False; allowed is advance True")

    def resolved(self, modules: int, total: int) -> AdapadConfig:
        """The settings of a run of `total` steps on `modules` modules, with no None left.

        Raises:
          ValueError: a budget outside modules..modules * rank, or so many growths that the steps do
            not suffice for them.
        """
        now = plan(self, modules, total)
        settled = {"rank": now.rank, "budget": now.budget, "grow": now.grow, "every": now.every}
        return dataclasses.replace(self, **settled, score_every=self._often)

    def growth(self, modules: int, total: int | jax.Array) -> Growth:
        """How the modules of such a run grow; ValueError as in `resolved`.

        Args:
          total: may be traced; then it is not asked whether it suffices.
        """
        now = plan(self, modules, total)
        last = None if self.significance is None else now.rounds * now.every
        often = self._often if self.score in SCORES else 1
        return Growth(
            *(now.rank, now.budget, now.grow, now.every, last, self.advance, self.score),
            *(often, self.beta**often, self.significance),
        )

    @property
    def _often(self) -> int:
        if self.score_every is not None:
            return self.score_every
        return 5 if self.score in DENSE or self.head_loss == "own" else 1


def adapad(config: AdapadConfig, run: Run) -> Method:
    """`parallel` deflation, where module p publishes rank_p components, at first one:

        every Delta steps, the modules of largest score publish their private component,
        until sum_p rank_p is the budget; from then on nothing trains in private.

    A new component has fresh moments. The head's gradient is the deployed network's, as in
    `parallel`; the same pass gives the score.

    Args:
      config: the settings.
      run: as in `parallel`.

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out)}, aux as in `levels` and `scores`. Its
      `prepare` raises ValueError for a budget that the modules cannot have.

    Source: arXiv 2605.10741, as far as its abstract and the authors' summary go.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = adapad(AdapadConfig(budget=3), Run(OptimiserConfig(), 100))
      >>> kernels = {"fc1": jnp.ones((3, 5)), "fc2": jnp.ones((5, 2))}
      >>> _, aux = method.prepare(jax.random.key(0), kernels, None)
      >>> [int(entry["rank"]) for entry in aux.values()]
      [1, 1]
    """

    clip, total = run.optimiser.clip, run.total

    def prepare(key, kernels, gradients):
        growth = config.growth(len(kernels), total)
        theta = config.first(key, kernels, gradients, growth.rank, config.std, config.scale)
        aux = levels.initial(theta, config.scale, 1, growth.training(len(kernels), 0))
        return theta, config.begun(theta, scores.initial(aux))

    def trained(now: Snapshot, step, published):
        if config.phase == "split":
            return _at(now, _turn(config, now.aux, step), clip)
        if config.phase == "joint":
            return _joint(config, now, published, clip, step)
        own = levels.every(config.seen(now), clip, config.way, run.level_mesh).theta
        return own, each(levels.trainable, now.aux)

    def grads(objective, theta, aux, head, step, key):
        del key
        now = Snapshot(objective, theta, aux, head)
        scored = functools.partial(_scored, config, config.growth(len(aux), total))
        if config.head_loss == "own":
            index = _turn(config, aux, step)
            loss, rows, of_head = levels.with_head(now, index, clip)
            of_theta, active = _placed(now, rows, index)
            own = Deployed(loss, of_head, {}, unscored(aux))
            result, due = scored(lambda: own, now, step)
        else:
            result, due = scored(lambda: deployed(now, config.phase == "joint"), now, step)
            of_theta, active = trained(now, step, result.theta)
        raw = scores.factor(theta, aux, of_theta) if config.score == "factor" else result.raw
        info = {"active": active, "raw": raw, "due": due}
        return Gradients(result.loss, of_theta, result.head, info)

    def post(theta, aux, opt, info):
        growth = config.growth(len(aux), total)
        raw = scores.reserve(theta, aux) if config.score == "reserve" else info.extra["raw"]
        aux = growth.averaged(aux, raw, info.extra["due"])
        return theta, config.moved(theta, growth.grown(aux, info.step)), opt

    return assembled("adapad", prepare, grads, post, run.direction, run.rate, config.of_gradient)


def _scored(config: AdapadConfig, growth: Growth, plain, now: Snapshot, step):
    """A step's `Deployed`, with scores where they are due, else plain(); and whether they are."""
    if config.score not in SCORES:
        return plain(), jnp.ones((), bool)
    due = growth.due(now.aux, step)

    def scored(_):
        new = deployed(now, config.phase == "joint", config.score)
        # A level's own loss stands where it trains the head.
        return plain()._replace(raw=new.raw) if config.head_loss == "own" else new

    return jax.lax.cond(due, scored, lambda _: plain(), 0), due


def _turn(config: AdapadConfig, aux: Tree, step: jax.Array) -> Leaves:
    """The level whose turn it is in the phase "split"."""
    most = jnp.max(tables.rows(each(lambda entry: entry["rank"] + entry["private"], aux)))
    rank = next(iter(aux.values()))["gain"].shape[0]
    return levels.everywhere(aux, (step // config.cycle) % jnp.minimum(most, rank))


def _joint(config: AdapadConfig, now: Snapshot, published: Tree, norm: float, step: jax.Array):
    """All published components against the deployed loss; the private ones in a pass of theirs."""
    theta, aux = now.theta, now.aux
    published, _ = clipped(published, norm)
    active = each(lambda entry: entry["gain"] != 0, aux)
    if not config.advance:
        return published, active
    needed = jnp.any(tables.rows(column(aux, "private")) > 0)
    needed &= (step + 1) % config.private_every == 0
    private, also = jax.lax.cond(
        needed,
        lambda _: _at(now, column(aux, "rank"), norm),
        lambda _: jax.tree.map(jnp.zeros_like, (theta, active)),
        0,
    )
    both = jax.tree.map(jnp.logical_or, active, also)
    return jax.tree.map(jnp.add, published, private), both


def _at(now: Snapshot, index: Leaves, norm: float):
    """Gradient of the components `index`, and where they are trained."""
    _, rows = levels.single(now, index, norm)
    return _placed(now, rows, index)


def _placed(now: Snapshot, rows: Tree, index: Leaves):
    aux = now.aux
    number = jnp.arange(next(iter(aux.values()))["gain"].shape[0])
    active = each(lambda entry, k: (number == k) & levels.trainable(entry), aux, index)
    return levels.placed(rows, index, now.theta), active
