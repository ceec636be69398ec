"""Figures: one function each, arrays in and a matplotlib Figure out, with their experiments.

recipe = registry()["sequential_allocation"]
recipe.figure("quick").savefig("allocation.png")       # or recipe.arrays(), then recipe.draw()
"""

from linear_theory.figures.files import save, save_arrays
from linear_theory.figures.recipe import SCALES, Recipe, Scale
from linear_theory.figures.registry import registry

__all__ = ["SCALES", "Recipe", "Scale", "registry", "save", "save_arrays"]
