"""Figures: one function each, arrays in and a matplotlib Figure out, with their experiments.

recipe = registry()["sequential_allocation"]
recipe.figure("quick").savefig("allocation.png")       # or recipe.arrays(), then recipe.draw()
"""

from __future__ import annotations

from linear_theory.topics import modules
from rankwise.plots.files import save, save_arrays
from rankwise.plots.recipe import SCALES, Recipe, Scale

__all__ = ["SCALES", "Recipe", "Scale", "registry", "save", "save_arrays"]


def registry() -> dict[str, Recipe]:
    """All figures by name, paper by paper: what the figure modules of the topics list in RECIPES.

    Example:
      >>> "sequential_allocation" in registry()
      True
    """
    return {recipe.name: recipe for module in modules("figure") for recipe in module.RECIPES}
