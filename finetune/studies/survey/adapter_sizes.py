"""The sizes of the survey's figures on adapters: seconds on digits, and the published protocol.

With a model's folder, and a folder that has STS-B, they adapt that model to it; otherwise a dense
network to digits. The published network is bert-base-cased, with its pooler; the sizes that take
less suit sentence encoders, whose outputs are averaged.

Source: arXiv 2503.19859, Figures 5 and 6; arXiv 2406.04112's public code.
"""

from __future__ import annotations

import os
import pathlib
from typing import Any

from finetune.studies.survey.deep_adaptation import DeepSetting
from finetune.studies.survey.factor_rates import RatesSetting

TASK = "stsb"
# A sentence encoder on two cores: minutes.
TEXT_QUICK = {"max_length": 32, "pooling": "mean", "rows": 800, "scored": 400, "steps": 100}
SOME = r"attention\.self\.(query|value)$"  # full-width factors of all maps would take hours


def rates(scale: str, seed: int | None, data_dir, model) -> RatesSetting:
    """Figure 5: learning rate 1e-4, rank 8 and ratio 2 are published, the rest is chosen here."""
    text = _text(data_dir, model)
    if scale == "paper":
        steps = {"steps": 3600, "snapshots": 100, "batch_size": 16} if text else {"steps": 2000}
        return RatesSetting(learning_rate=1e-4, seed=seed or 0, **text, **steps)
    options: dict[str, Any] = TEXT_QUICK if text else {"steps": 300, "batch_size": 32}
    learning_rate = 5e-4 if text else 2e-3
    return RatesSetting(learning_rate=learning_rate, seed=seed or 0, **text, **options)


def deep(scale: str, seed: int | None, data_dir, model) -> DeepSetting:
    """Figure 6: three full-width factors; 2000 steps, 500 for few rows, 20 seeds are published.

    The classifier is random and frozen there; on digits and at the quick sizes it is trained, or
    little could be learnt in so few steps.
    """
    text = _text(data_dir, model)
    if scale == "paper":
        options: dict[str, Any] = {"seeds": tuple(range(20)), "steps": 2000}
        if text:
            options |= {"epsilon": 1e-6, "head": "frozen_random", "learning_rate": 1e-4}
        else:
            options |= {"learning_rate": 1e-3}
    elif text:
        few = {"few": (16, 64, 256), "few_steps": 100, "seeds": (0,), "snapshots": 10}
        few |= {"compressed_rate": 1e-2, "lora_rate": 1e-3}  # all maps, at rank r
        options = {**TEXT_QUICK, **few, "learning_rate": 1e-4, "modules": SOME}
    else:
        few = {"few": (16, 64, 256), "few_steps": 200, "seeds": (0, 1, 2)}
        options = {"steps": 200, "learning_rate": 2e-3, **few}
    return DeepSetting(seed=seed or 0, **text, **options)


def _text(data_dir, model) -> dict[str, Any]:
    """The model and its task, where both are there."""
    if data_dir is None or model is None or not _has(data_dir):
        return {}
    return {"model": os.fspath(model), "task": TASK, "data_dir": os.fspath(data_dir)}


def _has(data_dir) -> bool:
    folder = pathlib.Path(data_dir)
    place = folder if folder.name == TASK else folder / TASK
    return any(place.glob("train*"))
