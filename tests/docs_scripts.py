"""The programs in docs, which is no package, as modules."""

import importlib.util
import pathlib

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def load(name):
    """The module of docs/NAME.py."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
