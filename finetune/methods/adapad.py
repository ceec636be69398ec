"""AdaPaD: parallel deflation in which every module's rank grows as far as it pays.

The published description leaves open how often ranks grow, the constants of the averages, how many
modules grow at a time and how the phases share the steps. What is marked [choice] below is ours.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from finetune.adapters import levels
from finetune.adapters.method import Gradients, Leaves, Method, Objective, Tree
from finetune.methods.parallel import SCALE, STD, WAYS, assembled, deployed, start
from finetune.optimiser import Rate, clipped
from finetune.ranks import scores
from rankwise import checks
from rankwise.options import option

PHASES = ("parallel", "split", "joint")
HEADS = ("deployed", "own")


@dataclasses.dataclass(frozen=True)
class AdapadConfig:
    """Settings of `adapad`.

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

    rank: int = option(4, "components per module at most")
    budget: int | None = option(None, "components of all modules; two for each")
    phase: str = option("parallel", "which components a step trains", PHASES)
    advance: bool = option(True, "train in private before")
    every: int | None = option(None, "steps between growths")
    grow: int | None = option(None, "modules that grow at a time; a ninth of them")
    score: str = option("effective", "which modules grow", scores.KINDS)
    score_every: int = option(5, "steps between scores")
    beta: float = option(0.85, "of the averages of the score")
    scale: float = option(1.0, SCALE)
    std: float = option(0.02, STD)
    cycle: int = option(10, "steps per level of --phase=split")
    head_loss: str = option("deployed", "what trains the head; own with --phase=split", HEADS)
    way: str = option("in_turn", "how levels are computed", WAYS)

    def __post_init__(self):
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


def adapad(
    config: AdapadConfig,
    direction: optax.GradientTransformation,
    rate: Rate,
    total: int,
    *,
    clip: float = 0.0,
    mesh: jax.sharding.Mesh | None = None,
    axis: str = "level",
) -> Method:
    """`parallel` deflation, where module p publishes rank_p components, at first one:

        every Delta steps, the modules of largest score publish their private component,
        until sum_p rank_p is the budget; from then on nothing trains in private.

    A new component has fresh moments. The head's gradient is the deployed network's, as in
    `parallel`; the same pass gives the score.

    Args:
      config: the settings.
      direction, rate, clip, mesh, axis: as in `parallel`.
      total: steps of the run.

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out)}, aux as in `levels` and `scores`. Its
      `prepare` raises ValueError for a budget that the modules cannot have.

    Source: arXiv 2605.10741, as far as its abstract and the authors' summary go.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> method = adapad(AdapadConfig(budget=3), optax.identity(), lambda step: 0.1, total=100)
      >>> kernels = {"fc1": jnp.ones((3, 5)), "fc2": jnp.ones((5, 2))}
      >>> _, aux = method.prepare(jax.random.key(0), kernels, None)
      >>> [int(entry["rank"]) for entry in aux.values()]
      [1, 1]
    """

    def prepare(key, kernels, gradients):
        del gradients
        settings = config.resolved(len(kernels), total)
        theta = start(key, kernels, config.rank, config.std)
        aux = levels.initial(theta, config.scale, 1, _private(settings, len(kernels)))
        return theta, scores.initial(aux)

    def trained(objective, theta, aux, head, step):
        problem = (objective, theta, aux, head)
        if config.phase == "split":
            return _at(*problem, _turn(config, aux, step), clip)
        if config.phase == "joint":
            return _joint(config, *problem, clip)
        found = levels.every(*problem, clip, config.way, mesh, axis).theta
        return found, {path: levels.trainable(entry) for path, entry in aux.items()}

    def grads(objective, theta, aux, head, step, key):
        del key
        settings = config.resolved(len(aux), total)
        problem = (objective, theta, aux, head)
        if config.head_loss == "own":
            index = _turn(config, aux, step)
            loss, rows, of_head = levels.with_head(*problem, index, clip)
            found, active = _placed(theta, aux, rows, index)
            *_, raw, due = _scores(settings, lambda: (loss, of_head), *problem, step)
        else:
            plain = functools.partial(deployed, *problem)
            loss, of_head, raw, due = _scores(settings, plain, *problem, step)
            found, active = trained(*problem, step)
        if config.score == "factor":
            raw = scores.factor(theta, aux, found)
        info = {"active": active, "raw": raw, "due": due}
        return Gradients(loss, found, of_head, info)

    def post(theta, aux, opt, info):
        settings = config.resolved(len(aux), total)
        raw, due = info.extra["raw"], info.extra["due"]
        if config.score == "reserve":
            raw = scores.reserve(theta, aux)
        beta = config.beta ** (config.score_every if config.score == "effective" else 1)
        aux = scores.averaged(aux, raw, beta, due)
        return theta, _grown(settings, aux, info.step), opt

    return assembled("adapad", prepare, grads, post, direction, rate)


def _private(settings: AdapadConfig, used) -> jax.Array:
    """Components per module that train in private: one, while there is budget left."""
    return jnp.where(settings.advance & (jnp.asarray(used) < settings.budget), 1, 0)


def _scores(settings: AdapadConfig, plain, objective: Objective, theta, aux, head, step):
    """(loss, head gradient, raw scores, whether these are due): `_scored` where they are.

    Args:
      plain: () -> (loss, head gradient) of a step without scores.
    """

    def unscored(_):
        return *plain(), _nothing(aux)

    if settings.score != "effective":
        return *unscored(0), jnp.ones((), bool)
    due = _due(settings, aux, step)
    scored = jax.lax.cond(due, lambda _: _scored(objective, theta, aux, head), unscored, 0)
    return *scored, due


def _scored(objective: Objective, theta: Tree, aux: Tree, head: Leaves):
    """Loss, head gradient and effective scores of the deployed network, from its dense gradient."""
    fixed = jax.lax.stop_gradient(theta)
    kernels = {path: k for path, k in objective.kernels().items() if path in aux}

    def loss(head, kernels):
        return objective.loss(fixed, aux, head, kernels)

    value, (of_head, dense) = jax.value_and_grad(loss, (0, 1))(head, kernels)
    return value, of_head, scores.effective(fixed, aux, dense)


def _nothing(aux: Tree) -> Leaves:
    return {path: jnp.zeros((), jnp.float32) for path in aux}


def _due(settings: AdapadConfig, aux: Tree, step: jax.Array) -> jax.Array:
    """Whether the step scores: some module may still grow, and it is the turn."""
    wanted = sum(entry["rank"] for entry in aux.values()) < settings.budget
    return wanted & ((step + 1) % settings.score_every == 0)


def _turn(config: AdapadConfig, aux: Tree, step: jax.Array) -> Leaves:
    """The level whose turn it is in the phase "split"."""
    most = jnp.max(jnp.stack([e["rank"] + e["private"] for e in aux.values()]))
    return levels.everywhere(aux, (step // config.cycle) % jnp.minimum(most, config.rank))


def _joint(config, objective, theta: Tree, aux: Tree, head, norm: float):
    """All published components against the deployed loss; the private ones in a pass of theirs."""
    found = jax.grad(lambda theta: objective.loss(theta, aux, head))(theta)
    found, _ = clipped(found, norm)
    active = {path: entry["gain"] != 0 for path, entry in aux.items()}
    if not config.advance:
        return found, active
    index: Leaves = {path: entry["rank"] for path, entry in aux.items()}
    wanted = jnp.any(jnp.stack([entry["private"] > 0 for entry in aux.values()]))
    private, also = jax.lax.cond(
        wanted,
        lambda _: _at(objective, theta, aux, head, index, norm),
        lambda _: (
            jax.tree.map(jnp.zeros_like, theta),
            {path: jnp.zeros_like(on) for path, on in active.items()},
        ),
        0,
    )
    both = {path: on | also[path] for path, on in active.items()}
    return jax.tree.map(jnp.add, found, private), both


def _at(objective, theta: Tree, aux: Tree, head, index: Leaves, norm: float):
    """Gradient of the components `index`, and where they are trained."""
    _, rows = levels.one(objective, theta, aux, head, index, norm)
    return _placed(theta, aux, rows, index)


def _placed(theta: Tree, aux: Tree, rows: Tree, index: Leaves):
    number = jnp.arange(next(iter(aux.values()))["gain"].shape[0])
    active = {path: (number == index[path]) & levels.trainable(e) for path, e in aux.items()}
    return levels.placed(rows, index, theta), active


def _grown(settings: AdapadConfig, aux: Tree, step: jax.Array) -> Tree:
    """aux after the growth that is due once step number `step` is done, if one is."""
    rank = jnp.stack([entry["rank"] for entry in aux.values()])
    room = settings.budget - jnp.sum(rank)
    due = ((step + 1) % settings.every == 0) & (room > 0)
    count = jnp.where(due, jnp.minimum(settings.grow, room), 0)
    chosen = scores.largest(scores.combined(aux), rank < settings.rank, count)
    rank = rank + chosen
    private = _private(settings, jnp.sum(rank)).astype(jnp.int32)
    new = {
        path: {**entry, "rank": rank[i].astype(jnp.int32), "private": private}
        for i, (path, entry) in enumerate(aux.items())
    }
    return {path: {**entry, "gain": levels.published(entry)} for path, entry in new.items()}
