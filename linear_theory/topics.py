"""The topics: folders below the papers' folders, in which files of one name say the same thing.

theory.py holds the formulas, instances.py what they are held against, claims.py (or several
claims_*.py) the theorems, experiment.py the arrays of a figure and figure.py its drawing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import types

PAPERS = ("perturbation", "sequential", "parallel", "adaptation", "structure")
"""The papers in the order of the evidence page; others follow them."""


def modules(kind: str) -> list[types.ModuleType]:
    """The modules of all topics that are called `kind` or `kind`_something.

    Args:
      kind: "claims", say.

    Returns:
      The modules in the order of the papers, and of their names within a paper.

    Example:
      >>> modules("claims")[0].__name__
      'linear_theory.perturbation.claims_classical'
    """
    packages = pkgutil.walk_packages([os.path.dirname(__file__)], "linear_theory.")
    names = [module.name for module in packages if re.search(rf"\.{kind}(_\w+)?$", module.name)]
    return [importlib.import_module(name) for name in sorted(names, key=_place)]


def _place(name: str) -> tuple[int, str]:
    paper = name.split(".")[1]
    return PAPERS.index(paper) if paper in PAPERS else len(PAPERS), name
