"""IncreLoRA: start with one component per module, and give more to the modules that use theirs.

y = x W + s (drop(x) a diag(d)) b. Beside its live components every module has a reserve, which is
part of the network with d = 1e-5: its factors are trained until growth makes it live, when d is
trained too and another reserve is begun. The base's outputs thus change by the reserve's 1e-5.

Source: Zhang et al. (2023), arXiv 2308.12043, and its released code, whose choices are the
defaults. In the code a target that is jumped over (add > 1) never ends growth: reserves stay.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from finetune.adapters import gated
from finetune.adapters.method import Factors, Gradients, Leaves, Method, Run, together
from finetune.adapters.side_channel import tap
from finetune.methods import option_texts as texts
from finetune.ranks import component_ages, orthonormal, reserves, room, scores
from finetune.ranks.growth import period
from rankwise import checks
from rankwise.options import option

NORMALISE = ("root", "size")
LEAST = 8


@dataclasses.dataclass(frozen=True)
class IncreloraConfig:
    """Settings of `increlora`.

    Attributes:
      rank: R, components of a module at most, its reserve included while it grows; None as in
        `room.largest`, at least 8.
      budget: live components at the end, over all modules; None is two per module.
      add: components that a module grows by, and that its reserve has.
      grow: modules that grow at a time; None is a ninth of them, rounded up.
      every: steps between growths; None lets them end at 60% of the run.
      t_init: growth begins at the first multiple of `every` above it; None is `every`, as in the
        published scripts.
      alpha: the scale s is alpha / (live components + 1e-5).
      rescale: s falls as a module grows, which also shrinks what it has learnt. It is the default
        because published settings have it. If not, s is that of the mean final rank throughout.
      restart: a new part's learning rate warms up anew, see `component_ages` (the code's default).
      orthogonality, penalty: weight and form of the penalty, see `orthonormal`; reserves included.
      normalise: the score is sum |D * dL/dD| over the root of D's size ("root", the code) or its
        size ("size", the paper); on modules of unequal sizes they prefer different ones.
      score_every: steps between scores; the code takes them in every step.
      beta: of both averages of the score.
      std: standard deviation of the first a and b.
    """

    rank: int | None = option(None, f"{texts.LARGEST_RANK}; {texts.ROOM} {LEAST}")
    budget: int | None = option(None, texts.BUDGET)
    add: int = option(1, "number of components that a module grows by")
    grow: int | None = option(None, texts.GROW)
    every: int | None = option(None, texts.EVERY)
    t_init: int | None = option(None, texts.T_INIT)
    alpha: float = option(16.0, texts.ALPHA)
    rescale: bool = option(True, "let the scale fall as the rank of a module grows")
    restart: bool = option(True, "warm the learning rate of new components up anew")
    orthogonality: float = option(0.1, texts.ORTHOGONALITY)
    penalty: str = option("norm", texts.PENALTY, orthonormal.FORMS)
    normalise: str = option(
        "root", "divide the score of a component by its size, or by the root of the size", NORMALISE
    )
    score_every: int = option(1, texts.SCORE_EVERY)
    beta: float = option(0.85, texts.BETA)
    std: float = option(0.02, texts.STD)

    def __post_init__(self):
        for name in ("rank", "add", "score_every", "budget", "grow", "every", "t_init"):
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), 0 if name == "t_init" else 1)
        checks.choice("penalty", self.penalty, orthonormal.FORMS)
        checks.choice("normalise", self.normalise, NORMALISE)
        checks.positive("alpha", self.alpha)
        checks.positive("std", self.std)
        checks.positive("orthogonality", self.orthogonality, zero=True)
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta is {self.beta}; allowed are numbers in [0, 1)")

    def growth(self, modules: int, total: int | jax.Array) -> reserves.Growth:
        """How `modules` modules grow in a run of `total` steps.

        Args:
          total: may be traced; then it is not asked whether it suffices.

        Raises:
          ValueError: a budget outside modules..modules * (what `rank` and `add` allow), or so many
            growths that the steps do not suffice for them.
        """
        rank = room.largest(self.rank, self.budget, modules, max(LEAST, 1 + self.add))
        each = 1 + (rank - 1) // self.add * self.add
        budget = min(2, each) * modules if self.budget is None else self.budget
        why = f" (1 to {each} for each of {modules} modules)"
        checks.integer("budget", budget, modules, modules * each, why=why)
        grow = -(-modules // 9) if self.grow is None else self.grow
        rounds = -(-((budget - modules) // self.add) // grow)
        every = period(total, rounds + 1) if self.every is None else self.every
        t_init = every if self.t_init is None else self.t_init
        known = rounds and not checks.traced(total)
        if known and (t_init // every + rounds) * every >= total:
            if self.every is None and self.t_init is None:
                most = modules + grow * self.add * max(total - 2, 0)
                raise ValueError(
                    f"budget is {budget} of {modules} modules, {grow} of which grow at a time; "
                    f"allowed in {total} steps are at most {most}"
                )
            raise ValueError(
                f"every is {every} and t_init {t_init} with {rounds} growths of {grow} modules; "
                f"allowed is what ends before step {total}"
            )
        mean = None if self.rescale else budget / modules
        return reserves.Growth(rank, budget, self.add, grow, every, t_init, self.alpha, mean)


def increlora(config: IncreloraConfig, run: Run) -> Method:
    """min L(theta) + penalty, where every few steps the modules of largest score I U grow; the
    averages I and U, see `scores`, are of sum |D * dL/dD| with D = s a diag(d) b.

    At most room // add modules grow at a time, so the budget is never exceeded; what is left of it
    when that is 0 stays unused. Then reserves leave the network (d = 0), and scores are no longer
    taken. The gradient in a score is that of the loss alone, before clipping; it comes from
    `side_channel`, which also says what it is for an accumulated batch. (The released code takes
    the last part of it.)

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out), d (R,)}, aux[path] {scale, rank, width
      (live components and reserve), ages, sensitivity, variability}, float32 (float64 for float64
      kernels) and int32. `export` leaves the reserve out. `prepare` raises ValueError for a budget
      that the modules or the steps do not allow.

    Example:
      >>> from finetune.methods import MethodConfig, make
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = make(MethodConfig("increlora", rank=4), OptimiserConfig(), total=100)
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> theta["fc"]["a"].shape, int(aux["fc"]["rank"])
      ((3, 4), 1)
    """

    def prepare(key, kernels, gradients):
        del gradients
        growth = config.growth(len(kernels), run.total)
        theta = gated.start(key, kernels, growth.rank, config.std)
        return theta, reserves.initial(growth, theta)

    def grads(objective, theta, aux, head, step, key):
        growth = config.growth(len(aux), run.total)

        def loss(theta, head, probes):
            tapped = {path: {**entry, "probe": probes[path]} for path, entry in aux.items()}
            return objective.loss(theta, tapped, head)

        zero = {path: jnp.zeros_like(entry["scale"]) for path, entry in aux.items()}

        def scored(_):
            value, gradients = jax.value_and_grad(loss, (0, 1, 2))(theta, head, zero)
            return value, *gradients

        def plain(_):
            return *together(objective, theta, aux, head, step, key)[:3], zero

        due = (reserves.room(growth, aux) > 0) & ((step + 1) % config.score_every == 0)
        value, of_theta, of_head, raw = jax.lax.cond(due, scored, plain, 0)
        active = reserves.active(aux)
        info = {"active": active, "age": reserves.trained(aux), "raw": raw, "due": due}
        return Gradients(value, component_ages.masked(of_theta, active), of_head, info)

    def post(theta, aux, opt, info):
        growth = config.growth(len(aux), run.total)
        power = 0.5 if config.normalise == "root" else 1.0
        sizes = {p: leaves["a"].shape[0] * leaves["b"].shape[1] for p, leaves in theta.items()}
        raw = {path: value / sizes[path] ** power for path, value in info.extra["raw"].items()}
        aux = scores.averaged(aux, raw, config.beta**config.score_every, info.extra["due"])
        aux = reserves.grown(growth, aux, info.step)
        return reserves.placed(growth, theta, aux), aux, opt

    def regulariser(theta, aux):
        existing = {path: reserves.below(entry, "width") for path, entry in aux.items()}
        return orthonormal.penalty(theta, config.orthogonality, config.penalty, existing)

    return Method(
        name="increlora",
        prepare=prepare,
        apply=apply,
        export=export,
        tx=component_ages.optimiser(run, config.restart),
        grads=grads,
        regulariser=regulariser,
        post=post,
    )


def apply(x, kernel, theta: Leaves, aux: Leaves, drop) -> jax.Array:
    """As `gated.apply`, with the tap of the score where aux has a probe."""
    dropped = drop(x)
    y = gated.apply(x, kernel, theta, aux, lambda _: dropped)
    if "probe" not in aux:
        return y
    gain = aux["scale"] * theta["d"]
    return tap(y, dropped, theta["a"] * gain, theta["b"], aux["probe"])


def export(kernel, theta: Leaves, aux: Leaves) -> Factors:
    """The live components with s d folded into a."""
    live = {**theta, "d": jnp.where(reserves.below(aux, "rank"), theta["d"], 0)}
    return gated.export(kernel, live, aux)
