"""Deep LoRA beside LoRA: what the update's spectrum does, and how both fare with few rows.

Source: arXiv 2503.19859, Figure 6 (arXiv 2406.04112).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from finetune.methods import MethodConfig, make
from finetune.studies.survey.adaptation import (
    AdaptationSetting,
    Problem,
    Trainer,
    changes,
    described,
    problem,
)
from rankwise import checks

METHODS = ("lora", "deeplora")
SIDES = ("output", "input")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepSetting(AdaptationSetting):
    """An `AdaptationSetting` for three factors of full width, and for LoRA of rank r beside them.

    Attributes:
      values: singular values of the update that are kept.
      subspace: dimension k of the subspace that is compared with its last.
      side: of which singular vectors: "output" (left ones in torch's layout, as the public script
        has it) or "input" (the right ones of the caption).
      few: training rows of the comparison, ascending.
      few_steps: steps of its runs.
      lora_rate: LoRA's learning rate there; None for `learning_rate`, as published.
      compressed_rate: that of Deep LoRA there in its compressed form of rank r, which costs what
        LoRA does; None for full width, at `learning_rate`.
      few_modules: pattern of the modules that are adapted there; None for all.
      seeds: of its runs.
      relative, absolute: a singular value counts if it exceeds `relative` times the module's
        largest and `absolute`. One rule for both methods; the public script has two.
    """

    values: int = 10
    subspace: int = 8
    side: str = "output"
    few: tuple[int, ...] = (16, 64, 256)
    few_steps: int = 500
    lora_rate: float | None = None
    compressed_rate: float | None = None
    few_modules: str | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    relative: float = 0.02
    absolute: float = 1e-3

    def __post_init__(self):
        super().__post_init__()
        for name in ("few", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not getattr(self, name):
                raise ValueError(f"{name} is (); allowed is at least one")
        for name in ("values", "subspace", "few_steps"):
            checks.integer(name, getattr(self, name), 1)
        checks.choice("side", self.side, SIDES)
        for rows in self.few:
            checks.integer("few", rows, 1)
        for seed in self.seeds:
            checks.integer("seeds", seed, 0)
        for name in ("relative", "absolute"):
            checks.positive(name, getattr(self, name), zero=True)


def deep_adaptation(setting: DeepSetting) -> dict[str, np.ndarray]:
    """Trains Deep LoRA on all rows, looking at its updates; then both methods on few.

    Returns:
      Of the run on all rows: steps (T,), from 0; paths (P,); values (P, T, v), singular values of
      the updates; alignment (P, T), ||U_t^T U_end||_F / sqrt(k) for the k leading vectors of one
      side, NaN at the start, where there is no update; score (). Of those on few rows: few (F,);
      methods (2,); scores (2, F, S); few_paths (Q,); ranks (2, Q) and largest (2, Q), the singular
      values that count and the largest one, for the first seed and the most rows. And task, note,
      rows, metric.

    Raises:
      ValueError: training that diverges.

    Example:
      >>> small = DeepSetting(
      ...     steps=2, snapshots=1, base_steps=2, hidden_size=8, rank=2, few=(4,), few_steps=1,
      ...     values=3, subspace=2, seeds=(0,),
      ... )
      >>> result = deep_adaptation(small)
      >>> result["values"].shape, result["ranks"].shape
      ((3, 2, 3), (2, 3))
    """
    whole = problem(setting)
    arrays = described(setting, whole) | _spectra(setting, whole)
    scores, ends = [], []
    for name in METHODS:
        rate = setting.compressed_rate if name == "deeplora" else setting.lora_rate
        short = dataclasses.replace(
            setting,
            steps=setting.few_steps,
            snapshots=1,
            modules=setting.few_modules,
            learning_rate=rate or setting.learning_rate,
        )
        compressed = setting.compressed_rate is not None
        trainer = Trainer(short, whole.network, _method(name, short, compressed))
        grid = [
            [trainer.run(whole.few(n), seed).state for seed in setting.seeds] for n in setting.few
        ]
        scores.append([[trainer.score(whole, state) for state in row] for row in grid])
        ends.append(changes(trainer.method, grid[-1][0], whole.network))
    spectra = [[np.linalg.svd(w, compute_uv=False) for w in end.values()] for end in ends]
    counted = [
        [int((s > max(setting.relative * s[0], setting.absolute)).sum()) for s in row]
        for row in spectra
    ]
    return arrays | {
        "few": np.asarray(setting.few),
        "methods": np.asarray(METHODS),
        "few_paths": np.asarray(list(ends[0])),
        "scores": np.asarray(scores),
        "ranks": np.asarray(counted),
        "largest": np.asarray([[s[0] for s in row] for row in spectra]),
    }


def _spectra(setting: DeepSetting, case: Problem) -> dict[str, np.ndarray]:
    trainer = Trainer(setting, case.network, _method("deeplora", setting))
    first: dict[str, np.ndarray] = {}
    size = setting.subspace

    def spectrum(matrix):
        u, s, vt = np.linalg.svd(matrix, full_matrices=False)
        frame = u[:, :size] if setting.side == "input" else vt[:size].T
        return s[: setting.values], frame

    def look(state):
        now = changes(trainer.method, state, case.network)
        if not first:
            first.update(now)
        # Minus its start, whose product of orthogonal factors is flat and tiny, but not zero.
        return {path: spectrum(matrix - first[path]) for path, matrix in now.items()}

    done = trainer.run(case, setting.seed, look)
    paths, values, alignment = list(first), [], []
    for path in paths:
        views = [snapshot[path] for snapshot in done.snapshots]
        end = views[-1][1]
        values.append([view[0] for view in views])
        after = [np.linalg.norm(view[1].T @ end) / end.shape[1] ** 0.5 for view in views]
        alignment.append([np.nan, *after[1:]])
    least = min(len(row[0]) for row in values)
    return {
        "steps": setting.steps // setting.snapshots * np.arange(setting.snapshots + 1),
        "paths": np.asarray(paths),
        "values": np.asarray([[s[:least] for s in row] for row in values]),
        "alignment": np.asarray(alignment),
        "score": np.asarray(trainer.score(case, done.state)),
    }


def _method(name: str, setting: AdaptationSetting, compressed: bool = False):
    rank = setting.rank
    if name == "lora":
        config = MethodConfig("lora", rank=rank, alpha=float(rank))
    else:
        config = MethodConfig("deeplora", rank=rank, compressed=compressed)
    return make(config, setting.optimiser, setting.steps)
