"""The packages of the distribution; everything else is in setup.cfg."""

from setuptools import find_packages, setup

NAMES = ("rankwise", "deflation", "linear_theory", "finetune", "launch")

setup(
    # Recipes and presets lie at the top for readers, and are installed inside of launch, so that no
    # package of that general name is: recipes/rte.flags is then launch/recipes/rte.flags.
    packages=[
        *find_packages(include=[pattern for n in NAMES for pattern in (n, f"{n}.*")]),
        "launch.recipes",
    ],
    package_dir={"launch.recipes": "recipes"},
    package_data={"": ["py.typed"], "launch.recipes": ["*/*.flags", "*/*.json"]},
)
