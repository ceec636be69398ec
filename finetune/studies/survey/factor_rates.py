"""LoRA with one rate for both factors and with a faster one for b: norms, losses and scores.

Source: arXiv 2503.19859, Figure 5 (LoRA+, arXiv 2402.12354).
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np

from finetune.adapters.method import Run
from finetune.methods.loraplus import LoraPlusConfig, loraplus
from finetune.studies.survey.adaptation import (
    AdaptationSetting,
    Problem,
    Trainer,
    described,
    problem,
)
from finetune.training.state import TrainState
from rankwise import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatesSetting(AdaptationSetting):
    """An `AdaptationSetting` for several ratios of the two rates.

    Attributes:
      ratios: rate of b over that of a; 1 is LoRA. The figure's is 2.
      alpha: LoRA's scale is alpha / r.
    """

    ratios: tuple[float, ...] = (1.0, 2.0)
    alpha: float = 8.0

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "ratios", tuple(self.ratios))
        if not self.ratios:
            raise ValueError("ratios is (); allowed is at least one")
        for ratio in self.ratios:
            checks.positive("ratios", ratio)


def factor_rates(setting: RatesSetting) -> dict[str, np.ndarray]:
    """Trains LoRA once per ratio, from the same start and on the same batches.

    Returns:
      ratios (R,); steps (T,), from 0; norm_a and norm_b (R, T), the Frobenius norm over all
      modules together; losses (R, steps); course (R, T), the score at these steps, and scores (R,),
      the last of them; task, note, rows, metric.

    Raises:
      ValueError: training that diverges.

    Example:
      >>> sizes = {"steps": 2, "snapshots": 2, "base_steps": 2, "hidden_size": 8, "rank": 2}
      >>> factor_rates(RatesSetting(**sizes, ratios=(4.0,)))["norm_b"].shape
      (1, 3)
    """
    case = problem(setting)

    rows = []
    for ratio in setting.ratios:
        settings = LoraPlusConfig(setting.rank, setting.alpha, ratio=ratio)
        method = loraplus(settings, Run(setting.optimiser, setting.steps))
        trainer = Trainer(setting, case.network, method)
        done = trainer.run(case, setting.seed, functools.partial(_look, trainer, case))
        norms, course = zip(*done.snapshots, strict=True)
        rows.append((np.stack(norms), done.losses, np.asarray(course)))
    norms, losses, course = (np.stack(part) for part in zip(*rows, strict=True))
    return {
        "ratios": np.asarray(setting.ratios),
        "steps": setting.steps // setting.snapshots * np.arange(setting.snapshots + 1),
        "norm_a": norms[..., 0],
        "norm_b": norms[..., 1],
        "losses": losses,
        "course": course,
        "scores": course[:, -1],
        **described(setting, case),
    }


def _look(trainer: Trainer, case: Problem, state: TrainState) -> tuple[np.ndarray, float]:
    """The norms of a and of b, and the score."""
    theta = jax.device_get(state.theta)  # no program for a few sums
    squares = [sum(np.sum(leaves[name] ** 2) for leaves in theta.values()) for name in "ab"]
    return np.sqrt(squares), trainer.score(case, state)
