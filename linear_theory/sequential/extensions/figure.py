"""The options named as future work in arXiv 2505.22602, each once against plain deflation."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from linear_theory import labels
from linear_theory.instances.setting import Setting
from linear_theory.instances.sizes import ONE, PAPER, QUICK
from linear_theory.labels import ERROR, TRAINING
from linear_theory.sequential.extensions import experiment
from rankwise.plots import style
from rankwise.plots.recipe import Arrays, Recipe, Scale, sizes

SOLVERS = {"gradient": "gradient descent", "power": "power iteration"}


@style.styled
def extensions(arrays: Arrays, setting: Setting) -> Figure:
    """Training error against work, and component errors at the end, for two solvers."""
    options, solvers = arrays["options"], [str(name) for name in arrays["solvers"]]
    figure, axes = style.panels(
        len(solvers),
        2,
        "Options of sequential deflation, each alone\n"
        + labels.conditions(setting, spectrum="exponential"),
        size=(4.7, 3.0),
    )
    for row, solver in enumerate(solvers):
        left, right = axes[row]
        errors = arrays[f"{solver}_component_error"]
        index = np.arange(1, errors.shape[-1] + 1)
        for which, option in enumerate(options):
            work, training = (arrays[f"{solver}_{name}"][which] for name in ("work", "training"))
            color, line = style.PALETTE[which], style.LINES[which]
            style.band(left, work, training, color, str(option), linestyle=line)
            mark = {"marker": style.MARKERS[which], "linestyle": line, "markersize": 3}
            style.band(right, index, errors[which], color, str(option), **mark)
        name = f"{SOLVERS[solver]}, {len(index)} components"
        style.labelled(left, "work (rounds of single components)", TRAINING, name)
        style.labelled(right, "component $k$", ERROR, f"{name}: at the end")
        style.log_axis(left)
        style.log_axis(right)
        right.xaxis.get_major_locator().set_params(integer=True)
        left.set_ylim(max(left.get_ylim()[0], 1e-3), 1.5)
    axes[0, 0].legend(loc="lower left")
    exact = arrays["gradient_training"][list(options).index("full-rank steps"), :, -1].mean()
    if exact < 1e-10:
        style.finding(
            figure,
            "with as many components as the true rank the last full-rank step is exact, whatever "
            "was fitted before",
        )
    return figure


RECIPES = (
    Recipe(
        "extensions",
        f"{ONE}, future work",
        "re-optimisation, orthogonality and full-rank steps against plain deflation",
        experiment.extensions,
        extensions,
        sizes(Scale(QUICK, {"total": 200}), Scale(PAPER)),
    ),
)
