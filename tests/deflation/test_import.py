"""`import deflation` is light, and what it promises is there."""

import subprocess
import sys

import deflation

HEAVY = (
    *("flax", "transformers", "matplotlib", "sklearn", "datasets", "optax", "orbax", "absl.app"),
    *("pandas", "polars", "dask", "scipy"),
)


def test_import_pulls_in_nothing_heavy():
    program = (
        "import sys, deflation\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
        "import jax; print(jax._src.xla_bridge.backends_are_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    # Nor is a device touched: jax.distributed and device counts are set after the import.
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_public_names():
    assert all(hasattr(deflation, name) for name in deflation.__all__)
    assert sorted(deflation.__all__) == deflation.__all__
    wanted = {
        "Components", "Regression", "Solution", "Status", "advance", "alternating", "budgets",
        "exact", "finish", "gradient_descent", "joint", "krylov", "parallel", "sequential",
        "sharded", "start",
    }  # fmt: skip
    assert wanted <= set(deflation.__all__)
    assert all(getattr(deflation, name).__doc__ for name in deflation.__all__)
