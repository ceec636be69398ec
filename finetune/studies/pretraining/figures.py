"""The figure of pre-training with low-rank optimisers: arrays of the experiment in.

Source: arXiv 2403.03507 (loss and memory), 2410.17881 (rank of the gradients).
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finetune.studies.panels import finding
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import BLACK, BLUE, GREEN, GREY, RED, SKY

COLORS = {"full": BLACK, "galore": BLUE, "adarankgrad": SKY, "relora": RED, "lora": GREEN}
NAMES = {
    "full": "full (Adam)",
    "galore": "GaLore",
    "adarankgrad": "AdaRankGrad",
    "relora": "ReLoRA",
    "lora": "LoRA",
}
SHADES = {"optimiser": 1.0, "gradients": 0.55, "own": 0.25}
LABELS = {
    "optimiser": "optimiser state",
    "gradients": "gradients",
    "own": "trained arrays",
}
KILO = 1024


def pretraining(arrays: Arrays, setting=None) -> Figure:
    """Held-out loss, memory, rank of the gradients and rank in use, one line or bar per run.

    Args:
      arrays: of `finetune.studies.pretraining.pretraining`.
      setting: its setting; None leaves the sizes of the network out of the title.

    Example:
      >>> from finetune.studies.survey.registry import registry
      >>> recipe = registry()["pretraining"]
      >>> recipe.draw(recipe.arrays("quick"), None).savefig("p.png")  # doctest: +SKIP
    """
    figure = Figure(figsize=(10.5, 7.4), layout="constrained")
    (losses, memory), (gradients, ranks) = figure.subplots(2, 2)
    runs, steps = [str(run) for run in arrays["runs"]], arrays["steps"]
    for number, run in enumerate(runs):
        style = {"color": COLORS[_base(run)], "linestyle": "--" if run != _base(run) else "-"}
        # The first are the widest: lines that coincide stay visible.
        style |= {"label": name_of(run), "linewidth": 1.2 + 0.25 * (len(runs) - 1 - number)}
        losses.plot(steps[1:], arrays["loss"][number, 1:], marker=".", **style)
        gradients.plot(steps, arrays["effective_rank"][number], marker=".", **style)
        faint = {**style, "label": None, "linestyle": ":", "linewidth": 1.3}
        gradients.plot(steps, arrays["stable_rank"][number], **faint)
        used = arrays["rank"][number]
        if np.isfinite(used).any():
            # AdaRankGrad has no basis before its first step.
            ranks.plot(steps[1:], used[1:], marker=".", **style)
    losses.set(xlabel="step", ylabel="held-out loss (nats per byte)", title="Loss")
    losses.legend(fontsize=8)
    gradients.plot([], [], color="#444444", label="effective rank")
    gradients.plot([], [], color="#444444", linestyle=":", label="stable rank")
    gradients.set(xlabel="step", ylabel="rank, mean over kernels", title="Rank of the gradients")
    gradients.set_yscale("log")
    gradients.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    gradients.yaxis.set_minor_formatter(
        lambda value, _: f"{value:g}" if value in (2, 5, 20, 30, 50) else ""
    )
    gradients.legend(handles=gradients.lines[-2:], fontsize=8)
    ranks.axhline(arrays["largest_rank"], color=GREY, linestyle="--", linewidth=0.8)
    ranks.set(xlabel="step", ylabel="rank in use, mean over kernels", title="Rank of the methods")
    ranks.set_ylim(0, 1.12 * float(arrays["largest_rank"]))
    ranks.annotate(
        "all of a kernel",
        (steps[-1], arrays["largest_rank"]),
        xytext=(0, 2),
        ha="right",
        textcoords="offset points",
        fontsize=8,
        color="#555555",
    )
    _bars(memory, arrays, runs)
    for axis in (losses, gradients, ranks):
        axis.grid(alpha=0.25, linewidth=0.6)
    figure.suptitle(_title(arrays, setting), fontsize=11)
    ends = ", ".join(f"{name_of(r)} {v[-1]:.3f}" for r, v in zip(runs, arrays["loss"], strict=True))
    finding(figure, f"held-out loss at the end: {ends}")
    return figure


def name_of(run: str) -> str:
    """What a run is called in legends."""
    warm = " after a full start" if run != _base(run) else ""
    return NAMES[_base(run)] + warm


def _base(run: str) -> str:
    return run.removesuffix("+warm")


def _bars(axis, arrays: Arrays, runs: list[str]) -> None:
    """Bytes for the kernels; what the rest of the network takes is the same in all runs."""
    kernels = arrays["bytes"][:, :, 0] / KILO
    for part, shade in enumerate(SHADES.values()):
        at = np.arange(len(runs)) + (part - 1) * 0.27
        colors = [COLORS[_base(run)] for run in runs]
        bars = axis.bar(at, kernels[:, part], 0.26, color=colors, alpha=shade)
        axis.bar_label(bars, fmt="%.0f", fontsize=6.5, padding=2, rotation=90)
    axis.set_xticks(
        np.arange(len(runs)), [name_of(run).replace(" after", "\nafter") for run in runs]
    )
    axis.tick_params(axis="x", labelsize=7.5)
    axis.set(xlabel="run", ylabel="KiB for the kernels", title="Memory beside the base's weights")
    axis.set_ylim(0, 1.25 * kernels.max())
    parts = [Patch(color="#444444", alpha=a, label=LABELS[part]) for part, a in SHADES.items()]
    axis.legend(handles=parts, fontsize=8, ncols=3, loc="upper center")


def _title(arrays: Arrays, setting) -> str:
    size = int(arrays["parameters"].sum())
    network = f"a Llama of {size:,} parameters"
    if setting is not None:
        network += f" ({setting.layers} layers, width {setting.width}, rank {setting.rank})"
    data = f"{int(arrays['train_bytes']):,} bytes of {arrays['text']}"
    return f"Pre-training {network}\non {data}"
