"""AdaPaD: parallel deflation in which every module's rank grows as far as it pays.

The published description leaves open how often ranks grow, the constants of the averages, how many
modules grow at a time and how the phases share the steps. What is marked [choice] below is ours.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from finetune.adapters import levels, tables
from finetune.adapters.gradient_start import StartOptions
from finetune.adapters.levels import Snapshot
from finetune.adapters.method import Gradients, Leaves, Method, Run, Tree
from finetune.adapters.tables import column, dealt, each
from finetune.methods import option_texts as texts
from finetune.methods.parallel import WAYS, assembled
from finetune.optimiser import clipped
from finetune.ranks import scores
from rankwise import checks
from rankwise.options import option

PHASES = ("parallel", "split", "joint")
HEADS = ("deployed", "own")


@dataclasses.dataclass(frozen=True)
class AdapadConfig(StartOptions):
    """Settings of `adapad`; and `StartOptions`.

    Attributes:
      rank: R, the largest rank of a module.
      budget: components over all modules together; None is two per module [choice].
      phase: "parallel" trains all levels in every step; "split" one level per step, `cycle` steps
        each in turn, the private one last [choice]; "joint" all published components against one
        loss, as in LoRA, and the private ones against another.
      advance: the next component of every module trains in private until it is published.
      every: steps between growths, Delta; None lets growth end at 60% of the run [choice].
      grow: modules that grow at a time; None is a ninth of them, rounded up [choice].
      score: see `scores`; "effective" misplaced fewest components on problems of known ranks.
      score_every: steps between scores of the kind "effective", which cost a pass [choice].
      beta: of both averages, per step [choice, AdaLoRA's].
      scale: s, of every component, whatever the rank [choice].
      std: standard deviation of the first a_k; b_k = 0 [choice].
      cycle: steps per level of the phase "split" [choice].
      head_loss: the network whose loss gives the head's gradient and is reported: the "deployed"
        one, in a forward pass of its own; or in the phase "split" the level's "own", from the pass
        that trains the level, which makes a step as cheap as LoRA's [choice].
      way: see `levels.every`.
    """

    rank: int = option(4, texts.LARGEST_RANK)
    budget: int | None = option(None, texts.BUDGET)
    phase: str = option(
        "parallel",
        "components that a step trains: of all levels (parallel), of one level (split), or of "
        "all against one loss (joint)",
        PHASES,
    )
    advance: bool = option(True, texts.ADVANCE)
    every: int | None = option(None, texts.EVERY)
    grow: int | None = option(None, texts.GROW)
    score: str = option(
        "effective", "score by which the modules that grow are chosen", scores.KINDS
    )
    score_every: int = option(5, texts.SCORE_EVERY)
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
        checks.integer("rank", self.rank, 1)
        checks.choice("head_loss", self.head_loss, HEADS)
        checks.choice("phase", self.phase, PHASES)
        checks.choice("score", self.score, scores.KINDS)
        checks.choice("way", self.way, WAYS)
        for name in ("budget", "every", "grow"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 1)
        checks.integer("score_every", self.score_every, 1)
        checks.integer("cycle", self.cycle, 1)
        checks.positive("scale", self.scale)
        checks.positive("std", self.std)
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta is {self.beta}; allowed are numbers in [0, 1)")
        if self.head_loss == "own" and self.phase != "split":
            raise ValueError(f"head_loss is 'own' with phase {self.phase!r}; allowed is 'split'")
        if self.score == "reserve" and not self.advance:
            raise ValueError("score is 'reserve' with advance False; allowed is advance True")

    def resolved(self, modules: int, total: int) -> AdapadConfig:
        """The settings of a run of `total` steps on `modules` modules, with no None left.

        Raises:
          ValueError: a budget outside modules..modules * rank, or so many growths that the steps do
            not suffice for them.
        """
        budget = min(2, self.rank) * modules if self.budget is None else self.budget
        why = f" (1 to {self.rank} for each of {modules} modules)"
        checks.integer("budget", budget, modules, modules * self.rank, why=why)
        grow = -(-modules // 9) if self.grow is None else self.grow
        rounds = -(-(budget - modules) // grow)
        every = max(int(0.6 * total) // max(rounds, 1), 1) if self.every is None else self.every
        if rounds * every > total:
            raise ValueError(
                f"every is {every} with {rounds} growths of {grow} modules each; "
                f"allowed are at most {total} steps"
            )
        return dataclasses.replace(self, budget=budget, grow=grow, every=every)


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
        settings = config.resolved(len(kernels), total)
        theta = config.first(key, kernels, gradients, config.rank, config.std, config.scale)
        aux = levels.initial(theta, config.scale, 1, _private(settings, len(kernels)))
        return theta, scores.initial(aux)

    def trained(now: Snapshot, step):
        if config.phase == "split":
            return _at(now, _turn(config, now.aux, step), clip)
        if config.phase == "joint":
            return _joint(config, now, clip)
        own = levels.every(now, clip, config.way, run.level_mesh).theta
        return own, each(levels.trainable, now.aux)

    def grads(objective, theta, aux, head, step, key):
        del key
        settings = config.resolved(len(aux), total)
        now = Snapshot(objective, theta, aux, head)
        if config.head_loss == "own":
            index = _turn(config, aux, step)
            loss, rows, of_head = levels.with_head(now, index, clip)
            of_theta, active = _placed(now, rows, index)
            *_, raw, due = _scores(settings, lambda: (loss, of_head), now, step)
        else:
            plain = functools.partial(levels.deployed, now)
            loss, of_head, raw, due = _scores(settings, plain, now, step)
            of_theta, active = trained(now, step)
        if config.score == "factor":
            raw = scores.factor(theta, aux, of_theta)
        info = {"active": active, "raw": raw, "due": due}
        return Gradients(loss, of_theta, of_head, info)

    def post(theta, aux, opt, info):
        settings = config.resolved(len(aux), total)
        raw, due = info.extra["raw"], info.extra["due"]
        if config.score == "reserve":
            raw = scores.reserve(theta, aux)
        beta = config.beta ** (config.score_every if config.score == "effective" else 1)
        aux = scores.averaged(aux, raw, beta, due)
        return theta, _grown(settings, aux, info.step), opt

    return assembled("adapad", prepare, grads, post, run.direction, run.rate, config.of_gradient)


def _private(settings: AdapadConfig, used) -> jax.Array:
    """Components per module that train in private: one, while there is budget left."""
    return jnp.where(settings.advance & (jnp.asarray(used) < settings.budget), 1, 0)


def _scores(settings: AdapadConfig, plain, now: Snapshot, step):
    """(loss, head gradient, raw scores, whether these are due): `_scored` where they are.

    Args:
      plain: () -> (loss, head gradient) of a step without scores.
    """

    def unscored(_):
        return *plain(), _nothing(now.aux)

    if settings.score != "effective":
        return *unscored(0), jnp.ones((), bool)
    due = _due(settings, now.aux, step)
    scored = jax.lax.cond(due, lambda _: _scored(now), unscored, 0)
    return *scored, due


def _scored(now: Snapshot):
    """Loss, head gradient and effective scores of the deployed network, from its dense gradient."""
    fixed = jax.lax.stop_gradient(now.theta)
    kernels = now.objective.kernels()

    def loss(head, kernels):
        return now.objective.loss(fixed, now.aux, head, kernels)

    value, (of_head, dense) = jax.value_and_grad(loss, (0, 1))(now.head, kernels)
    return value, of_head, scores.effective(fixed, now.aux, dense)


def _nothing(aux: Tree) -> Leaves:
    return each(lambda entry: jnp.zeros((), jnp.float32), aux)


def _due(settings: AdapadConfig, aux: Tree, step: jax.Array) -> jax.Array:
    """Whether the step scores: some module may still grow, and it is the turn."""
    needed = jnp.sum(tables.rows(column(aux, "rank"))) < settings.budget
    return needed & ((step + 1) % settings.score_every == 0)


def _turn(config: AdapadConfig, aux: Tree, step: jax.Array) -> Leaves:
    """The level whose turn it is in the phase "split"."""
    most = jnp.max(tables.rows(each(lambda entry: entry["rank"] + entry["private"], aux)))
    return levels.everywhere(aux, (step // config.cycle) % jnp.minimum(most, config.rank))


def _joint(config: AdapadConfig, now: Snapshot, norm: float):
    """All published components against the deployed loss; the private ones in a pass of theirs."""
    theta, aux = now.theta, now.aux
    published = jax.grad(lambda theta: now.objective.loss(theta, aux, now.head))(theta)
    published, _ = clipped(published, norm)
    active = each(lambda entry: entry["gain"] != 0, aux)
    if not config.advance:
        return published, active
    index: Leaves = column(aux, "rank")
    needed = jnp.any(tables.rows(column(aux, "private")) > 0)
    private, also = jax.lax.cond(
        needed,
        lambda _: _at(now, index, norm),
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


def _grown(settings: AdapadConfig, aux: Tree, step: jax.Array) -> Tree:
    """aux after the growth that is due once step number `step` is done, if one is."""
    rank = tables.rows(column(aux, "rank"))
    room = settings.budget - jnp.sum(rank)
    due = ((step + 1) % settings.every == 0) & (room > 0)
    count = jnp.where(due, jnp.minimum(settings.grow, room), 0)
    chosen = scores.largest(scores.combined(aux), rank < settings.rank, count)
    rank = rank + chosen
    private = _private(settings, jnp.sum(rank)).astype(jnp.int32)

    def of_module(entry: Leaves, rank: jax.Array) -> Leaves:
        new = {**entry, "rank": rank.astype(jnp.int32), "private": private}
        return {**new, "gain": levels.published(new)}

    return each(of_module, aux, dealt(rank, aux))
