"""AdaLoRA: start with too many components, and mask those whose entries matter least.

y = x W + s (drop(x) a diag(d)) b; in every module a and b are kept near orthonormal, so that the
d are like singular values. Masks are soft: a masked d is set to 0 and goes on being trained, so it
may come back until the final phase masks after every step.

Source: Zhang et al. (2023), arXiv 2303.10512, and its released code. Where the two differ both are
options, and the code's is the default: the published settings were used with it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from finetune.adapters import gated
from finetune.adapters.method import Method, Run, Tree
from finetune.adapters.tables import each
from finetune.methods import option_texts as texts
from finetune.ranks import importance, orthonormal, room, schedule
from rankwise import checks
from rankwise.options import option

IMPORTANCE = ("after", "before")
LEAST = 4


@dataclasses.dataclass(frozen=True)
class AdaloraConfig:
    """Settings of `adalora`.

    Attributes:
      rank: R, components of every module at first; None as in `room.largest`, at least 4.
      budget: components that are left, over all modules together; None is two per module.
      alpha: the scale is alpha / (R + 1e-5), also when components are masked.
      orthogonality, penalty: weight and form of the penalty, see `orthonormal`.
      beta: of both averages of the importance.
      importance: |p * dL/dp| with the parameters after the update ("after", the code) or before it
        ("before", the paper's Algorithm 1); gradients are clipped, the penalty's included.
      decline: schedule of the budget, see `budgets`.
      t_init, t_final, delta_t: steps before masking begins, of the final phase, which masks in
        each, and between masks before it; None as in `budgets.phases`.
      std: standard deviation of the first a and b; d = 0.
    """

    rank: int | None = option(None, f"{texts.FIRST_RANK}; {texts.ROOM} {LEAST}")
    budget: int | None = option(None, texts.BUDGET)
    alpha: float = option(16.0, texts.ALPHA)
    orthogonality: float = option(0.1, texts.ORTHOGONALITY)
    penalty: str = option("norm", texts.PENALTY, orthonormal.FORMS)
    beta: float = option(0.85, texts.BETA)
    importance: str = option(
        "after", "whether importance is measured after or before the update", IMPORTANCE
    )
    decline: str = option(
        "code", "how the budget falls: as in the published code or as in the paper", schedule.FORMS
    )
    t_init: int | None = option(None, texts.T_INIT)
    t_final: int | None = option(
        None, "optimiser steps of the final phase; by default half of the run"
    )
    delta_t: int | None = option(
        None, "optimiser steps between masks of components; by default a 700th of the run"
    )
    std: float = option(0.02, texts.STD)

    def __post_init__(self):
        checks.choice("penalty", self.penalty, orthonormal.FORMS)
        checks.choice("importance", self.importance, IMPORTANCE)
        checks.choice("decline", self.decline, schedule.FORMS)
        counts = {"rank": 1, "budget": 1, "t_init": 0, "t_final": 2, "delta_t": 1}
        for name, least in counts.items():
            if getattr(self, name) is not None:
                checks.integer(name, getattr(self, name), least)
        for name in ("alpha", "std"):
            checks.positive(name, getattr(self, name))
        checks.positive("orthogonality", self.orthogonality, zero=True)
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta is {self.beta}; allowed are numbers in [0, 1)")

    def phases(self, total: int) -> schedule.Phases:
        """The phases of a run of `total` steps."""
        return schedule.phases(total, self.t_init, self.t_final, self.delta_t)

    def first(self, modules: int) -> int:
        """R, of one of so many modules."""
        return room.largest(self.rank, self.budget, modules, LEAST)

    def budgets(self, modules: int, total: int) -> np.ndarray:
        """The budget of every step, (total,) int32; ValueError for one above modules * rank."""
        rank = self.first(modules)
        most = modules * rank
        budget = min(2, rank) * modules if self.budget is None else self.budget
        why = f" (up to {rank} for each of {modules} modules)"
        checks.integer("budget", budget, 1, most, why=why)
        return schedule.cubic(self.decline, self.phases(total), most, budget)


def adalora(config: AdaloraConfig, run: Run) -> Method:
    """min L(theta) + penalty(a, b), where d <- 0 but for the most important components.

    See `orthonormal` for the penalty, `importance`, and `budgets` for how many and when.

    Returns:
      A Method; theta[path] is {a (in, R), b (R, out), d (R,)} and aux[path] {scale, I and U of
      each}, float32 (float64 for float64 kernels). Ranks are numbers of components with d != 0.
      `prepare` raises ValueError for a budget or phases that do not fit.

    Example:
      >>> from finetune.methods import MethodConfig, make
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = make(MethodConfig("adalora", rank=4, budget=3), OptimiserConfig(), total=100)
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> theta["fc"]["d"].shape, round(float(aux["fc"]["scale"]), 3)
      ((4,), 4.0)
    """

    phases, before = config.phases(run.total), config.importance == "before"

    def prepare(key, kernels, gradients):
        del gradients
        config.budgets(len(kernels), run.total)
        rank = config.first(len(kernels))
        theta = gated.start(key, kernels, rank, config.std)
        aux = importance.initial(theta, gated.scaled(theta, config.alpha / (rank + 1e-5)))
        return theta, _with(aux, theta) if before else aux

    def post(theta, aux, opt, info):
        parameters = _without(aux, theta) if before else theta
        learning = info.step < run.total - phases.t_final
        aux = importance.averaged(aux, parameters, info.gradients, config.beta, learning)
        aux = _with(aux, theta) if before else aux
        budget = jnp.asarray(config.budgets(len(aux), run.total))[info.step]
        masked = importance.masked(theta, importance.components(aux), budget)
        due = schedule.due(phases, info.step)
        return jax.tree.map(lambda new, old: jnp.where(due, new, old), masked, theta), aux, opt

    def regulariser(theta, aux):
        del aux
        return orthonormal.penalty(theta, config.orthogonality, config.penalty)

    return Method(
        name="adalora",
        prepare=prepare,
        apply=gated.apply,
        lookup=gated.lookup,
        export=gated.export,
        tx=run.tx,
        regulariser=regulariser,
        post=post,
        ranks=gated.ranks,
    )


def _with(aux: Tree, theta: Tree) -> Tree:
    """aux that remembers the parameters until after the next update."""
    return each(lambda e, own: {**e, **{f"before_{n}": x for n, x in own.items()}}, aux, theta)


def _without(aux: Tree, theta: Tree) -> Tree:
    """The parameters that `_with` put there."""
    return each(lambda e, own: {n: e[f"before_{n}"] for n in own}, aux, theta)
