"""What the shape of the spectrum does: Figures 5, 6 and 9 of arXiv 2505.22602."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from linear_theory import labels
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK
from linear_theory.labels import RECONSTRUCTION, TRAINING
from linear_theory.sequential.profiles import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

NAMES = {"uniform": "uniform", "exponential": "exponential", "power": "power law"}


@style.styled
def spectra(arrays: Arrays, setting: Setting) -> Figure:
    """Singular values of W and of Y = W X by profile. Figure 5."""
    figure, axes = style.panels(
        1,
        2,
        f"Three spectra of the same norm\n{labels.conditions(setting, runs=False)}",
        size=(3.9, 3.2),
    )
    index = np.arange(1, arrays["of_map"].shape[1] + 1)
    for ax, name, label in zip(axes[0], ("of_map", "of_target"), ("W", "Y = WX"), strict=True):
        for row, profile in enumerate(arrays["profiles"]):
            ax.plot(
                index,
                arrays[name][row],
                marker=style.MARKERS[row],
                color=style.PALETTE[row],
                label=NAMES[str(profile)],
            )
        style.labelled(
            ax, "index $i$", f"singular value $\\sigma_i({label})$  ($\\|W\\|_F = \\sqrt{{r}}$)"
        )
        style.log_axis(ax)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].legend()
    return figure


@style.styled
def profile_curves(arrays: Arrays, setting: Setting) -> Figure:
    """Both errors against iterations by profile, for both steps. Figure 6 is the first row."""
    each = int(arrays["component_steps"][0])
    figure, axes = style.panels(
        len(arrays["steps"]),
        2,
        f"Spectra of the same norm, {each} iterations for every component\n"
        f"{labels.conditions(setting)}",
        size=(4.2, 2.8),
        sharex=True,
    )
    iteration = np.arange(1, arrays["training"].shape[-1] + 1)
    orders = []
    for row, step in enumerate(arrays["steps"]):
        for ax, name, label in zip(
            axes[row], ("training", "reconstruction"), (TRAINING, RECONSTRUCTION), strict=True
        ):
            for column, profile in enumerate(arrays["profiles"]):
                color = style.PALETTE[column]
                style.band(ax, iteration, arrays[name][row, column], color, NAMES[str(profile)])
            last = row == len(arrays["steps"]) - 1
            style.labelled(ax, "iteration" if last else "", label, f"{_step(step)} step")
            style.log_axis(ax)
        ends = arrays["reconstruction"][row, ..., -1].mean(axis=-1)
        order = [NAMES[str(arrays["profiles"][i])] for i in np.argsort(ends)]
        orders.append(f"{_step(step)} step: {' < '.join(order)}")
    axes[0, 0].legend()
    style.finding(figure, "reconstruction at the end, " + ";   ".join(orders))
    return figure


@style.styled
def profile_noise(arrays: Arrays, setting: Setting) -> Figure:
    """Reconstruction by profile and noise level, in one unit and relative. Figure 9 is row one."""
    levels, norms = arrays["levels"], arrays["norms"]
    total = arrays["error"].shape[-1]
    figure, axes = style.panels(
        2,
        len(levels),
        f"Spectra of different norm under noise, T = {total}, more iterations for the first\n"
        f"{labels.conditions(setting)}",
        size=(2.8, 2.7),
        sharex=True,
        sharey="row",
    )
    units = (
        (np.full_like(norms, norms.max()), r"$\|W - W_t\|_F\,/\,\max_{\rm profiles}\|W\|_F$"),
        (norms, r"$\|W - W_t\|_F\,/\,\|W\|_F$"),
    )
    iteration = np.arange(1, total + 1)
    for row, (unit, label) in enumerate(units):
        for column, level in enumerate(levels):
            ax = axes[row, column]
            for which, profile in enumerate(arrays["profiles"]):
                runs = arrays["error"][column, which] / unit[which]
                style.band(ax, iteration, runs, style.PALETTE[which], NAMES[str(profile)])
            style.labelled(
                ax,
                "iteration" if row else "",
                "" if column else label,
                "" if row else f"noise $\\kappa$ = {level:g}",
            )
            style.log_axis(ax)
    style.legend_below(figure, axes[0, 0])
    return figure


def _step(name) -> str:
    return {"fixed": "fixed", "auto": "adaptive"}[str(name)]


RECIPES = (
    Recipe(
        "sequential_spectra",
        f"{ONE}, Figure 5",
        "three spectra of W and of Y",
        experiment.spectra,
        spectra,
        sizes(Scale(QUICK), Scale(PAPER)),
    ),
    Recipe(
        "sequential_profiles",
        f"{ONE}, Figure 6",
        "the errors by spectrum, with a fixed and with an adaptive step",
        experiment.profile_curves,
        profile_curves,
        sizes(Scale(QUICK, {"total": 800}), Scale(PAPER)),
    ),
    Recipe(
        "sequential_noise_profiles",
        f"{ONE}, Figure 9",
        "the errors by spectrum under noise, absolute and relative",
        experiment.profile_noise,
        profile_noise,
        sizes(Scale(QUICK, {"total": 400}), Scale(PAPER)),
    ),
)
