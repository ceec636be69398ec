"""The figure of the study: who reaches what at equal steps, at equal time, with which ranks."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from finetune.studies.panels import finding
from rankwise.intervals import mean_interval
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import BLUE, GREY, PALETTE, RED, log_axis

REFERENCE = "lora"
CURVES = ("oracle", "lora", "lora_equal", "adapad", "adapad_former", "adalora", "increlora")


def hits(arrays: Arrays) -> np.ndarray:
    """Share of the teacher's components that a contender has too, (C, S).

    sum_p min(rank_p, true_p) over the larger of both sums, so that too many count as well.

    Example:
      >>> ranks, true = np.array([[[1, 3]]]), np.array([[[2, 2]]])
      >>> hits({"ranks": ranks, "true": true}).tolist()
      [[0.75]]
    """
    ranks, true = arrays["ranks"], arrays["true"]
    most = np.maximum(ranks.sum(axis=-1), true.sum(axis=-1))
    return np.minimum(ranks, true).sum(axis=-1) / most


def final(arrays: Arrays) -> np.ndarray:
    """Held-out errors at the end, (C, S)."""
    return arrays["losses"][..., -1]


def ratios(arrays: Arrays, reference: str = REFERENCE) -> dict[str, tuple[float, float, float]]:
    """Contender -> geometric mean over problems of its error over the reference's, and the ends of
    its 95% interval: Student's, of the paired differences of logarithms."""
    names = list(map(str, arrays["contenders"]))
    logs = np.log(np.maximum(final(arrays), 1e-12))
    result = {}
    for number, name in enumerate(names):
        mean, half = mean_interval(logs[number] - logs[names.index(reference)])
        half = np.inf if half is None else half
        result[name] = tuple(map(float, np.exp([mean, mean - half, mean + half])))
    return result


def table(arrays: Arrays) -> tuple[tuple[str, ...], list[tuple]]:
    """Header and rows, best first: error, its ratio to `REFERENCE` with the interval, hits,
    components, processor milliseconds of a step and seconds of a run, rate, and whether that is the
    first or last that was tried."""
    header = ("contender", "error", "ratio", "low", "high", "hits", "components", "ms", "s", "rate")
    names, errors = list(map(str, arrays["contenders"])), final(arrays).mean(axis=1)
    rows = []
    for number in np.argsort(errors):
        name, seconds = names[number], float(arrays["seconds"][number])
        rows.append(
            (
                name,
                float(errors[number]),
                *(round(value, 3) for value in ratios(arrays)[name]),
                round(float(hits(arrays)[number].mean()), 3),
                round(float(arrays["ranks"][number].sum(axis=-1).mean()), 1),
                round(1e3 * seconds, 2),
                round(seconds * int(arrays["steps"][number]), 2),
                f"{float(arrays['rates'][number]):g}" + "*" * bool(arrays["at_edge"][number]),
            )
        )
    return header, rows


def known_ranks(arrays: Arrays, setting=None) -> Figure:
    """Held-out errors, hits, and errors over the processor's time.

    Args:
      arrays: of `finetune.studies.known_ranks.study.known_ranks`.
      setting: not read; all figures are called alike.
    """
    names, errors, hit = list(map(str, arrays["contenders"])), final(arrays), hits(arrays)
    order = np.argsort(-errors.mean(axis=1))
    figure = Figure(figsize=(12.5, 1.6 + 0.28 * max(len(names), 8)), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for height, number in enumerate(order):
        own = RED if names[number] == REFERENCE else BLUE
        for axis, values in ((left, errors), (middle, hit)):
            axis.plot(values[number], [height] * errors.shape[1], "o", color=own, alpha=0.5)
            axis.plot([values[number].mean()], [height], "|", color="black", markersize=11)
    for axis in (left, middle):
        axis.set_yticks(range(len(order)), [names[number] for number in order])
    middle.set_yticklabels([])
    log_axis(left, "x")
    left.set(xlabel="held-out error, of the base's", title="at the end of the run")
    middle.set(xlabel="share of the components that are the teacher's", title="ranks")
    shown = [names.index(name) for name in CURVES if name in names]
    for color, number in zip(PALETTE, shown, strict=False):
        total = float(arrays["seconds"][number]) * int(arrays["steps"][number])
        looks = arrays["losses"].shape[-1]
        time = total * np.arange(1, looks + 1) / looks
        mean = np.exp(np.log(arrays["losses"][number]).mean(axis=0))
        right.plot(time, mean, color=color, label=names[number])
        right.plot(time[-1], mean[-1], "o", color=color)
    log_axis(right)
    right.set(
        xlabel="processor seconds of a run",
        ylabel="held-out error, of the base's",
        title="over time (geometric mean)",
    )
    right.legend(fontsize=7)
    right.axhline(1, color=GREY, linewidth=0.8)
    modules, problems = arrays["true"].shape[-1], errors.shape[1]
    figure.suptitle(f"A teacher of known ranks, {modules} modules, {problems} problems")
    finding(figure, _said(arrays))
    return figure


def _said(arrays: Arrays) -> str:
    if REFERENCE not in map(str, arrays["contenders"]):
        return ""
    several = {name: ends for name, ends in ratios(arrays).items() if name != REFERENCE}
    lower = [name for name, (_, _, high) in several.items() if high < 1]
    higher = [name for name, (_, low, _) in several.items() if low > 1]
    return (
        f"error below that of {REFERENCE} (95%, paired): {', '.join(lower) or 'none'}\n"
        f"above: {', '.join(higher) or 'none'}"
    )
