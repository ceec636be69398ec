"""What noise leaves: the noise floor of the exact rank-r fit, and the best number of components."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from linear_theory import labels
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK, TWO
from linear_theory.parallel.generalization import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes


@style.styled
def noise_floor(arrays: Arrays, setting: Setting) -> Figure:
    """Mean squared error against noise with its standard error, beside the two-term formula."""
    levels, values = arrays["levels"], arrays["values"]
    runs = arrays["squared_error"]
    mean, stderr = runs.mean(axis=1), runs.std(axis=1, ddof=1) / runs.shape[1] ** 0.5
    formulas = {"first order": arrays["first_order"], "two terms": arrays["two_terms"]}
    figure, axes = style.panels(
        1,
        2,
        "Noise floor of the best rank-r fit: $s^2 r(m+d-r) + "
        r"3 s^4 (m-r)(d-r)\,\Sigma_k\,\sigma_k^{-2}$"
        f"\n{labels.conditions(setting)}, $\\sigma$ = {', '.join(style.numbers(values))}",
        size=(4.4, 3.4),
    )
    left, right = axes[0]
    left.errorbar(
        levels, mean, yerr=stderr, fmt="o", color="black", capsize=2, label="measured", zorder=3
    )
    right.errorbar(
        levels, mean / formulas["first order"], yerr=stderr / formulas["first order"],
        fmt="o", color="black", capsize=2, label="measured (standard error)", zorder=3,
    )  # fmt: skip
    for row, (label, formula) in enumerate(formulas.items()):
        line = {"color": style.PALETTE[row], "linestyle": ("--", "-")[row], "label": label}
        left.plot(levels, formula, **line)
        right.plot(levels, formula / formulas["first order"], **line)
    noise = "noise $s$ (standard deviation of an entry of Y)"
    style.labelled(left, noise, r"$E\,\|(W_r - W)X\|_F^2$  (units of $Y^2$)")
    style.labelled(right, noise, "the same over its first-order term")
    left.set_xscale("log")
    style.log_axis(left)
    left.legend()
    right.legend(loc="upper left")
    worst = np.abs(mean / formulas["two terms"] - 1).max()
    style.finding(figure, f"largest deviation from two terms: {worst:.1%}")
    return figure


@style.styled
def best_rank(arrays: Arrays, setting: Setting) -> Figure:
    """Error against the number of components by noise, and the best number against noise."""
    levels, ranks = arrays["levels"], arrays["ranks"]
    figure, axes = style.panels(
        1,
        2,
        "The best number of components falls with the noise N(0, $\\kappa^2$); exact steps\n"
        + labels.conditions(setting, spectrum="exponential"),
        size=(4.5, 3.5),
    )
    left, right = axes[0]
    mean = arrays["error"].mean(axis=1)
    for row, level in enumerate(arrays["shown"]):
        at = int(np.abs(levels - level).argmin())
        color = style.PALETTE[row]
        style.band(left, ranks, arrays["error"][at], color, f"$\\kappa$ = {levels[at]:g}")
        best = int(mean[at].argmin())
        left.plot(ranks[best], mean[at, best], "o", color=color, markersize=7)
    style.labelled(
        left, "components $r$   (dot: best)", r"reconstruction  $\|W - W_r\|_F\,/\,\|W\|_F$"
    )
    style.log_axis(left)
    style.legend_on_top(left)
    best = ranks[arrays["error"].argmin(axis=-1)]
    style.band(right, levels, best.T, style.PALETTE[0], "best in hindsight", marker="o")
    label = "chosen by deflation.noise_floor"
    style.band(right, levels, arrays["chosen"].T, style.PALETTE[1], label, marker="s")
    right.axhline(setting.rank, color=style.GREY, linestyle=":", label="true rank")
    style.labelled(right, "noise $\\kappa$", "components")
    right.set_xscale("log")
    right.set_ylim(0, None)
    right.yaxis.get_major_locator().set_params(integer=True)
    right.legend(loc="lower left")
    return figure


FLOOR = Setting(m=24, d=30, n=90, rank=3, trials=200, design="orthonormal")
RECIPES = (
    Recipe(
        "noise_floor",
        f"{TWO}, statistical term",
        "the error that noise leaves after exact fitting, against the two-term formula",
        experiment.floor,
        noise_floor,
        sizes(
            Scale(FLOOR), Scale(Setting(m=24, d=30, n=90, rank=3, trials=600, design="orthonormal"))
        ),
    ),
    Recipe(
        "best_rank",
        f"{ONE}, discussion of theorem 3",
        "the best number of components against noise",
        experiment.best_rank,
        best_rank,
        sizes(Scale(QUICK), Scale(PAPER)),
    ),
)
