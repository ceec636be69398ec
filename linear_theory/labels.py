"""What figures of several topics say in their titles and on their axes."""

from __future__ import annotations

from linear_theory.instances.setting import Setting

ERROR = r"$G_k = \|R_k - R_k^*\|_F\,/\,\sigma_k$"


RECONSTRUCTION = r"reconstruction  $\|W - W_t\|_F\,/\,\|W\|_F$"
TRAINING = r"training  $\|Y - W_tX\|_F\,/\,\|Y\|_F$"


def conditions(setting: Setting, *, runs: bool = True, design: bool = True, **others) -> str:
    """One line for a title: sizes, design of X, others by name, number of runs."""
    named = {"column": "unit columns", "row": "unit rows", "gauss": "Gaussian X"}
    parts = [f"m, d, n = {setting.m}, {setting.d}, {setting.n}, rank {setting.rank}"]
    parts += [named.get(setting.design, f"{setting.design} X")] if design else []
    parts += [f"{name} = {value}" for name, value in others.items()]
    parts += [f"{setting.trials} runs"] if runs else []
    return ", ".join(parts)
