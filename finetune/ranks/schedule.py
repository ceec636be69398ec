"""When AdaLoRA masks, and how many components it leaves: a cubic schedule in three phases.

With n0 components at first and n1 at the end, over steps t of T, t_i of them before masking begins
and t_f after the budget has fallen, the budget of step t is, rounded down,

    code    n0 if t <= t_i;  n1 if t > T - t_f;   else n1 + (n0 - n1) (1 - (t - t_i) / D)^3
    paper   n0 if t < t_i;   n1 if t >= T - t_f;  else n1 + (n0 - n1) (1 - (t - t_i - t_f) / D)^3

with D = T - t_i - t_f. The paper's (arXiv 2303.10512, appendix A) is above n0 at first, where it is
cut to n0, and falls to n1 at once at the end. Masks follow every delta_t steps between the phases,
and every step in the last, from t > T - t_f on.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

FORMS = ("code", "paper")


class Phases(NamedTuple):
    """Steps of the phases.

    Attributes:
      total: T, of the run.
      t_init, t_final, delta_t: t_i, t_f, and steps between masks.
    """

    total: int
    t_init: int
    t_final: int
    delta_t: int


def phases(
    total: int, t_init: int | None = None, t_final: int | None = None, delta_t: int | None = None
) -> Phases:
    """The phases of a run of `total` steps; None is the share that published scripts give it.

    That is 12%, a half, and a 700th of the run (DeBERTaV3 on CoLA: 800, 3500 and 10 of 6700).

    Raises:
      ValueError: too few steps for the phases.

    Example:
      >>> phases(1400)
      Phases(total=1400, t_init=168, t_final=700, delta_t=2)
    """
    # The first step of the final phase does not mask yet: with one alone the budget is not met.
    t_final = max(total // 2, 2) if t_final is None else t_final
    t_init = int(0.12 * total) if t_init is None else t_init
    if t_init + t_final >= total:
        raise ValueError(
            f"t_init is {t_init} and t_final {t_final}; allowed is a sum below the {total} steps"
        )
    return Phases(total, t_init, t_final, max(total // 700, 1) if delta_t is None else delta_t)


def cubic(form: str, phases: Phases, first: int, last: int) -> np.ndarray:
    """The budgets of all steps, (T,) int32; computed in float64 whatever the network's dtype.

    Args:
      form: one of `FORMS`.
      first, last: n0 and n1.

    Example:
      >>> cubic("code", Phases(8, t_init=1, t_final=3, delta_t=1), first=9, last=1).tolist()
      [9, 9, 4, 2, 1, 1, 1, 1]
    """
    total, t_init, t_final, _ = phases
    t = np.arange(total)
    offset = t_final if form == "paper" else 0
    share = 1 - (t - t_init - offset) / (total - t_init - t_final)
    # Up to t_init the share is 1 or more: the cube is clipped to n0.
    between = np.clip((last + (first - last) * share**3).astype(np.int64), last, first)
    ended = t >= total - t_final if form == "paper" else t > total - t_final
    return np.where(ended, last, between).astype(np.int32)


def due(phases: Phases, step: jax.Array) -> jax.Array:
    """Whether step t ends with a mask."""
    total, t_init, t_final, delta_t = phases
    return ((step > t_init) & (step % delta_t == 0)) | (step > total - t_final)
