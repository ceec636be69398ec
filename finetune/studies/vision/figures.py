"""Figures of the image study: arrays of `finetune.studies.vision.registry` in, a matplotlib Figure
out.

Every figure has a panel per data set. Accuracies are on the test images of the new classes, with
logits over all classes; means over seeds, bars and bands one standard deviation. Nothing global is
changed: the look is that of the caller's matplotlib settings.

Source: the experiments of arXiv 2505.22602 with LoRA on image classification.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from finetune.studies.panels import finding, name_of, panels_of, split
from finetune.studies.vision import comparisons, cost
from rankwise.plots.recipe import Arrays
from rankwise.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, log_axis

COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE)
ACCURACY = "accuracy on the new classes"
LARGEST_BUBBLE = 160.0  # square points
UNIT = 1e9  # flops


def components(arrays: Arrays, setting=None) -> Figure:
    """Accuracy after each component where all are trained equally long. Figure 2.

    Args:
      arrays: as from a recipe of `finetune.studies.vision.registry`.
      setting: not read; all figures are called alike.

    Example:
      >>> from finetune.studies.vision.registry import registry
      >>> recipe = registry()["vision_components"]
      >>> recipe.draw(recipe.arrays("quick")).savefig("components.png")  # doctest: +SKIP
    """
    figure, panels = panels_of(arrays, "Accuracy after each component, equal epochs for all")
    for axis, data in panels:
        number = np.arange(1, 4)
        for i, epochs in enumerate(data["epochs"]):
            along = [data[f"component_{k}"][(slice(None), *(i,) * k)] for k in number]
            _errorbar(axis, number, np.stack(along, axis=1), _color(i), _epochs(epochs))
        _joint_lines(axis, data)
        axis.set(xlabel="components", ylabel=ACCURACY, xticks=number)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=7)
    return figure


def paths(arrays: Arrays, setting=None) -> Figure:
    """Accuracy along every path of epochs, by the epochs of the first component. Figures 4 and 12.

    Thin: every path, its component shifted a little by the epochs of the first. Thick: the mean.
    """
    count = len(split(arrays)[0]["epochs"])
    figure, panels = panels_of(arrays, f"All {count**3} paths of epochs, component by component")
    for axis, data in panels:
        choices = len(data["epochs"])
        curves = _along(data)
        for first in range(choices):
            own = curves[first].reshape(-1, 3)
            x = np.arange(1, 4) + 0.06 * (first - (choices - 1) / 2)
            axis.plot(x, own.T, color=_color(first), linewidth=0.6, alpha=0.35)
            label = f"{data['epochs'][first]}"
            axis.plot(x, own.mean(axis=0), color=_color(first), linewidth=2.2, label=label)
        axis.set(xlabel="component that was trained last", ylabel=ACCURACY, xticks=range(1, 4))
        axis.legend(title="epochs of component 1", loc="lower right", fontsize=7, title_fontsize=7)
    return figure


def efficiency(arrays: Arrays, setting=None) -> Figure:
    """Accuracy against all epochs of a path; area: accuracy per epoch. Figures 3 and 11."""
    figure, panels = panels_of(arrays, "Accuracy and total epochs of a path")
    for axis, data in panels:
        epochs = np.asarray(data["epochs"])
        first, second, third = np.meshgrid(epochs, epochs, epochs, indexing="ij")
        total, final = first + second + third, data["component_3"].mean(axis=0)
        area = final / total
        area = LARGEST_BUBBLE * area / area.max()
        kinds = _kinds(first, second, third)
        for (label, mask), color in zip(kinds.items(), (RED, BLUE, GREY), strict=True):
            shown = (total[mask], final[mask], area[mask])
            axis.scatter(*shown, color=color, alpha=0.55, linewidth=0, label=label)
        joint = data["joint"].mean(axis=0)
        axis.plot(np.arange(1, len(joint) + 1), joint, color="k", linewidth=1)
        axis.set(xlabel="epochs of all components together", ylabel=ACCURACY)
        handles = [_dot(RED), _dot(BLUE), _dot(GREY), Line2D([], [], color="k", linewidth=1)]
        axis.legend(handles, [*kinds, "joint rank 3"], loc="lower right", fontsize=7)
    finding(figure, "area of a dot: accuracy divided by the epochs of all components")
    return figure


def spread(arrays: Arrays, setting=None) -> Figure:
    """How much the choice of epochs matters at each rank. Figure 13."""
    figure, panels = panels_of(arrays, "Spread over the paths of epochs, by rank")
    for axis, data in panels:
        values = [data[f"component_{k}"].mean(axis=0).ravel() for k in (1, 2, 3)]
        boxes = axis.boxplot(values, whis=(0, 100), patch_artist=True, widths=0.5)
        for box, median, color in zip(boxes["boxes"], boxes["medians"], COLORS, strict=False):
            box.set(facecolor=color, alpha=0.45)
            median.set(color="k")
        _joint_lines(axis, data)
        ticks = [f"{k}\n({len(v)} paths)" for k, v in enumerate(values, start=1)]
        axis.set(xlabel="rank", ylabel=ACCURACY)
        axis.set_xticks([1, 2, 3], ticks)
        axis.legend(loc="lower right", fontsize=7)
    finding(figure, "box: quartiles; whiskers: the worst and the best path")
    return figure


def flops(arrays: Arrays, setting=None) -> Figure:
    """Accuracy against the flops of all training, of paths and joint runs that agree within 5 %.

    The note's statement is one accuracy band at flops that agree within five per cent; the dashed
    line is another question, what five per cent less accuracy cost. The flops are those of the
    low-rank branch, see `finetune.studies.vision.cost`; what the base network takes in every epoch
    is the same for all, and `efficiency` has the epochs.
    """
    figure, panels = panels_of(arrays, "Accuracy and total LoRA flops")
    lines = []
    for axis, data in panels:
        final = data["component_3"].mean(axis=0)
        x = cost.path_flops(data) / UNIT
        axis.scatter(x, final, 14, color=RED, alpha=0.6, label="rank 1 in turn, all paths")
        joint, curve = data["joint"].mean(axis=0), cost.joint_curve_flops(data) / UNIT
        axis.plot(curve, joint, ".-", color="k", linewidth=1, markersize=4, label="joint rank 3")
        cheapest = comparisons.within(data)
        label = f"5 % below joint, {len(joint)} epochs"
        axis.axhline(cheapest.target, color=GREY, linestyle="--", linewidth=1, label=label)
        axis.set(xlabel="LoRA flops of the whole training, in $10^9$", ylabel=ACCURACY)
        log_axis(axis, "x")
        axis.legend(loc="lower right", fontsize=7)
        lines += [f"{name_of(data)}: {_alike(data)}", _cheapest(cheapest)]
    finding(figure, "\n".join(lines))
    return figure


def order(arrays: Arrays, setting=None) -> Figure:
    """The same epochs, most first against most last: who wins.

    Source: the comparison behind the front-loading statement of arXiv 2505.22602.
    """
    figure, panels = panels_of(arrays, "The same epochs in falling and in rising order", height=4.2)
    lines = []
    for axis, data in panels:
        orders = comparisons.orders(data)
        place = np.argsort(orders.difference.mean(axis=0))
        rows = np.arange(len(place))
        difference = 100 * orders.difference[:, place]
        axis.barh(rows, difference.mean(axis=0), color=BLUE, alpha=0.5, label="mean")
        for seed in difference:
            axis.plot(seed, rows, "o", color="k", markersize=2.5)
        axis.plot([], [], "o", color="k", markersize=2.5, label="each seed")
        axis.axvline(0, color="k", linewidth=0.8)
        axis.set_yticks(rows, ["-".join(map(str, orders.paths[i])) for i in place], fontsize=7)
        axis.set(xlabel="accuracy, falling minus rising (points)", ylabel="epochs, falling")
        axis.legend(loc="upper left", fontsize=7)
        mean, each = orders.difference.mean(axis=0), 100 * orders.difference.mean(axis=1)
        error = f" ± {each.std(ddof=1) / len(each) ** 0.5:.2f}" if len(each) > 1 else ""
        lines.append(
            f"{name_of(data)}: falling order better in {np.sum(mean > 0)} of {len(mean)}, "
            f"mean {each.mean():+.2f}{error} points"
        )
    finding(figure, "\n".join([*lines, "±: standard error over the seeds"]))
    return figure


def _along(data: Arrays) -> np.ndarray:
    """Mean accuracy after components 1, 2, 3 of every path, (C, C, C, 3)."""
    one, two, three = (data[f"component_{k}"].mean(axis=0) for k in (1, 2, 3))
    return np.stack(np.broadcast_arrays(one[:, None, None], two[:, :, None], three), axis=-1)


def _kinds(first, second, third) -> dict[str, np.ndarray]:
    falling = (first >= second) & (second >= third) & (first > third)
    rising = (first <= second) & (second <= third) & (first < third)
    return {"most first": falling, "most last": rising, "others": ~(falling | rising)}


def _joint_lines(axis, data: Arrays) -> None:
    """The joint adapter after as many epochs as the longest stage, and after all that were run."""
    last = data["joint"].shape[1]
    for stop, style in ((min(int(data["epochs"][-1]), last), ":"), (last, "--")):
        label = f"joint rank 3, {stop} epochs"
        axis.axhline(data["joint"][:, stop - 1].mean(), color="k", linestyle=style, label=label)


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _epochs(count) -> str:
    return "1 epoch each" if count == 1 else f"{count} epochs each"


def _errorbar(axis, x, runs, color, label) -> None:
    mean, std = runs.mean(axis=0), runs.std(axis=0)
    axis.errorbar(x, mean, std, color=color, marker="o", markersize=4, capsize=2, label=label)


def _alike(data: Arrays) -> str:
    gaps = 100 * comparisons.at_like_flops(data)
    if not len(gaps):
        return "no path has the flops of a joint run within 5 %"
    return (
        f"flops within 5 %, {len(gaps)} pairs: path minus joint {gaps.mean():+.2f} points "
        f"({gaps.min():+.2f} to {gaps.max():+.2f})"
    )


def _cheapest(best: comparisons.Within) -> str:
    path = "-".join(map(str, best.path)) if best.path.any() else "no path"
    text = f"cheapest within 5 % of the accuracy: {path}"
    if np.isfinite(best.path_flops):
        text += f", {best.path_flops / UNIT:.3g}"
    return text + f"; joint after {best.epochs} epochs, {best.joint_flops / UNIT:.3g}"


def _dot(color: str) -> Line2D:
    return Line2D([], [], color=color, marker="o", linestyle="", alpha=0.6)
