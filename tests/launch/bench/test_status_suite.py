"""The campaign of the status on a share of its problems, and that it would see what it is for."""

import jax
import numpy as np
import pytest

from deflation import Status
from launch.bench import status_suite


# Bounds are of the components, whatever solver found them; of Krylov's the status is held by
# tests/deflation/test_tolerance.py.
@pytest.mark.thorough  # counted below
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("parallel, alternating", "float32"),
        ("parallel, krylov", "float64"),
    ],
)
def test_no_bound_is_violated_and_no_status_is_false(name, dtype):
    row = status_suite.row(name, dtype, 100, seed=1)
    assert (row["error_ours"], row["error_competitor"]) == (0, 0)
    assert row["converged"] >= 0.85 * row["right"] > 10


def test_what_would_be_counted():
    """Bounds of nothing, and CONVERGED said of everything."""
    program = status_suite.PROGRAMS["parallel, alternating"]
    g = np.random.default_rng(0)
    targets = np.stack([status_suite.matrix(g, 12, 10) for _ in range(100)]).astype("float32")
    tolerances = np.full(100, 1e-3, "float32")
    truths = [status_suite.truth(target) for target in targets]
    solutions = jax.tree.map(np.asarray, status_suite.solve(program, targets, tolerances))
    counts = status_suite.judged(program, solutions, targets, tolerances, truths)
    assert counts["violated"] == counts["false"] == 0
    lies = solutions._replace(
        bounds=0 * solutions.bounds, status=np.full_like(solutions.status, Status.CONVERGED)
    )
    counts = status_suite.judged(program, lies, targets, tolerances, truths)
    assert counts["violated"] > 90 and counts["false"] > 30
