"""What a run does beyond rounds: orthogonal components, steps over all of them, joint runs."""

import numpy as np
import pytest

from deflation import (
    Status,
    alternating,
    gradient_descent,
    joint,
    krylov,
    parallel,
    sequential,
)
from tests.deflation.problems import (
    SIZES,
    R,
    close,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    precision,
    thorough,
    triplets,
)


def test_joint_finds_the_sum_and_not_the_components():
    with precision("float64"):
        problem = from_matrix()
        solution = joint(problem, R, gradient_descent(0.08), rounds=3000)
        assert solution.status is Status.CONVERGED
        wanted = triplets(matrix())
        close(solution.components.matrix(), wanted.sum(0), "float64", 1e4)
        assert np.min(errors(problem, solution.components)) > 0.1
        # So a prefix of it is no best smaller model.
        best = np.sqrt(np.sum(np.square(SIZES[1:])))
        assert float(problem.residual(solution.components.prefix(1))) > 1.1 * best


def test_joint_needs_a_step_size():
    for solver in (None, alternating(), krylov(), gradient_descent()):
        with pytest.raises(ValueError) as error:
            joint(from_matrix(), R, solver)
        assert "solver" in one_line(error) and "gradient_descent(step_size)" in one_line(error)


@pytest.mark.parametrize(
    ("way", "solver"),
    [
        ("parallel", gradient_descent(steps=3)),
        *(thorough(way, alternating()) for way in ("sequential", "parallel")),
        thorough("sequential", gradient_descent(steps=3)),
        *(thorough(way, krylov(2)) for way in ("sequential", "parallel")),
    ],
)
def test_orthogonality(way, solver):
    """Off by default; on, factors are orthogonal to rounding in output coordinates."""
    with precision("float64"):
        problem = from_data()
        run = {
            "sequential": lambda **o: sequential(problem, R, solver, budget=(4, 4, 4), **o),
            # Predecessors must have come to rest: a worker sees those of the round before.
            "parallel": lambda **o: parallel(problem, R, solver, rounds=300, **o),
        }[way]
        products = {}
        for on in (False, True):
            factors = problem.to_whitened(run(orthogonal=on).components)
            products[on] = 0.0
            for rows in factors:
                unit = np.asarray(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
                products[on] = max(products[on], np.max(np.abs(unit @ unit.T - np.eye(R))))
        assert products[True] < 1e-12
        if way == "sequential":
            assert products[False] > 1e-3
        close(maps(run().components), maps(run(orthogonal=False).components), "float64")


# What each of them does is compared with numpy below.
@pytest.mark.thorough
@pytest.mark.parametrize("option", ["reoptimise", "full_rank"])
@pytest.mark.parametrize("solver", [alternating(), gradient_descent(steps=3), krylov(2)])
def test_extensions_of_sequential_runs(solver, option):
    """Off by default; after the last component they cannot make the sum of a run worse."""
    with precision("float64"):
        problem = from_data()

        def left(**options):
            solution = sequential(problem, R, solver, budget=[2, 3, 3], **options)
            return float(problem.residual(solution.components))

        plain = left()
        assert left(**{option: 0}) == plain
        assert left(**{option: R + 1}) == plain  # never due
        assert left(**{option: 1}) < plain
        assert left(**{option: R}) < plain


def test_a_full_rank_step_is_the_joint_least_squares_one():
    """After the last component: all b for the found a, then all a for those b."""
    with precision("float64"):
        problem, target = from_matrix(), matrix()
        plain = sequential(problem, R, budget=(2, 2, 2)).components
        b = target @ np.linalg.pinv(np.asarray(plain.a))
        wanted = b @ np.linalg.pinv(b) @ target
        got = sequential(problem, R, budget=(2, 2, 2), full_rank=R).components
        close(got.matrix(), wanted, "float64")


def test_reoptimisation_is_a_round_against_all_others():
    with precision("float64"):
        problem, target = from_matrix(), matrix()
        plain = sequential(problem, R, budget=(2, 2, 2)).components
        found = list(maps(plain))
        for k in range(R):
            left = target - sum(found[:k] + found[k + 1 :])
            a = left.T @ left @ np.asarray(plain.a)[k]
            a /= np.linalg.norm(a)
            found[k] = np.outer(left @ a, a)
        got = sequential(problem, R, budget=(2, 2, 2), reoptimise=R).components
        close(maps(got), found, "float64")
