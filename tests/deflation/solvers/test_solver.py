"""The rank-one solvers do the steps they are defined by, in any units and any rotation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deflation import (
    Components,
    Regression,
    Status,
    advance,
    alternating,
    gradient_descent,
    joint,
    krylov,
    parallel,
    sequential,
    sharded,
    start,
)
from deflation.rounds.run import _advance
from deflation.solvers.gradient_descent import GradientDescent
from tests.deflation.problems import (
    SIZES,
    D,
    M,
    R,
    close,
    data,
    errors,
    from_data,
    from_matrix,
    maps,
    matrix,
    one_line,
    orthonormal,
    precision,
    thorough,
)


def first(seed=0, rank=R) -> Components:
    """Factors to begin with: b nonzero, a = 0, as gradient descent itself draws them."""
    return Components(np.random.default_rng(seed).normal(size=(rank, M)), np.zeros((rank, D)))


def directions(seed=0, rank=R) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rank, D))


@pytest.mark.parametrize("sweeps", [thorough(1), 3])
def test_alternating_is_power_iteration(sweeps):
    with precision("float64"):
        target, a = matrix(), directions(rank=1)[0]
        init = Components(np.ones((1, M)), a[None])
        got = parallel(from_matrix(), 1, alternating(sweeps), init=init, rounds=2)
        for _ in range(2 * sweeps):
            b = target @ a / (a @ a)  # the two least-squares problems
            a = target.T @ b / (b @ b)
        # The published b is the best one for the last a.
        b = target @ a / (a @ a)
        close(got.components.matrix(), np.outer(b, a), "float64")


# Sweeps are held above, and steps by what test_automatic_step_converges to.
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("many", "one"),
    [
        (gradient_descent(0.05, steps=3), gradient_descent(0.05)),
        thorough(alternating(3), alternating()),
    ],
)
def test_sweeps_and_steps_per_round(many, one):
    """For one worker, more of them per round is the same as more rounds."""
    with precision("float64"):
        problem = from_data()
        got = parallel(problem, 1, many, rounds=2)
        wanted = parallel(problem, 1, one, rounds=6)
        close(got.components.matrix(), wanted.components.matrix(), "float64")


@pytest.mark.parametrize("coordinates", ["whitened", "original"])
def test_gradient_descent_in_the_coordinates_of_the_papers(coordinates):
    """Against explicit descent on 1/2 ||Y_k - b a^T X||^2 from the data, in numpy: in b and a, or
    in b and S^(1/2) a. Every step of every worker of a parallel run is compared."""
    x, y = data()
    rate, rounds = 0.03, 5
    with precision("float64"):
        problem = Regression.from_data(x, y)
        root, inverse = np.asarray(problem.root), np.asarray(problem.whitener)
        b, a = first()
        history = []
        for number in range(rounds):
            old_b, old_a = b.copy(), a.copy()
            for k in range(R):
                visible = min(k, number)  # worker j publishes from round j on
                rest = y - old_b[:visible].T @ old_a[:visible] @ x
                left = rest - np.outer(old_b[k], old_a[k] @ x)
                b[k] = old_b[k] + rate * left @ (old_a[k] @ x)
                down = x @ left.T @ old_b[k]  # the gradient in a itself
                if coordinates == "whitened":
                    down = inverse @ inverse @ down
                a[k] = old_a[k] + rate * down
            history.append(np.linalg.norm(b, axis=1) * np.linalg.norm(a @ root, axis=1))
        solver = gradient_descent(rate, coordinates=coordinates)
        # Given factors would be published at once; here they are to be worker k's before round 1.
        state = start(problem, R, solver, key=jax.random.key(1))
        begun = state.progress._replace(factors=jax.tree.map(jnp.asarray, first()))
        state = advance(dataclasses.replace(state, progress=begun), rounds)
        close(state.history.size, history, "float64")
        got = problem.to_original(state.progress.factors)
        close(maps(got), b[:, :, None] * a[:, None, :], "float64")


@pytest.mark.parametrize(
    ("coordinates", "dtype"),
    [
        ("original", "float64"),
        thorough("original", "float32"),
        *(thorough("whitened", dtype) for dtype in ("float32", "float64")),
    ],
)
def test_automatic_step_converges(coordinates, dtype):
    with precision(dtype):
        problem = from_data(condition=3.0)
        solver = gradient_descent(steps=20, coordinates=coordinates)
        solution = parallel(problem, R, solver, rounds=100)
        assert solution.status is Status.CONVERGED
        assert np.max(errors(problem, solution.components)) < 1e-5


# Both coordinates are compared with numpy's descent above.
@pytest.mark.thorough
def test_conditioning_slows_original_coordinates_only():
    """Whitened descent does not see X at all; the papers' does."""
    with precision("float64"):
        left = {}
        for condition in (1.0, 10.0):
            problem = from_data(condition=condition, noise=0.0)
            for coordinates in ("whitened", "original"):
                solver = gradient_descent(coordinates=coordinates, steps=5)
                solution = parallel(problem, 1, solver, rounds=6)
                left[coordinates, condition] = errors(problem, solution.components, 1)[0]
        np.testing.assert_allclose(left["whitened", 10.0], left["whitened", 1.0], rtol=1e-6)
        assert left["original", 10.0] > 10 * left["original", 1.0]


SOLVERS = {"alternating": alternating(), "automatic": gradient_descent(steps=4)}
SOLVERS |= {"krylov": krylov(3)}
# The norm of M^T M a squares its entries: fourth powers of the target leave the range of single
# precision from 4e9 on and below 3e-10, far inside the range of the target itself.
SCALES = (1e-12, 1e-10, 1e-5, 3.0, 1e5, 1e10, 1e12)


# tests/deflation/problem/test_units.py holds it at further ends of the range, bit by bit.
@pytest.mark.thorough
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_units_of_the_target_do_not_matter(solver, scale):
    """Y -> c Y takes the components to c times themselves."""
    plain = parallel(from_matrix(), R, SOLVERS[solver], rounds=30)
    target = np.asarray(matrix() * scale, np.float32)
    scaled = parallel(Regression.from_matrix(target), R, SOLVERS[solver], rounds=30)
    # Thirty rounds multiply the rounding of c M by the sensitivity of components that still move.
    close(maps(scaled.components) / scale, maps(plain.components), "float32", 30)


@pytest.mark.parametrize("solver", ["alternating", thorough("automatic"), thorough("krylov")])
@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_rotations_of_the_target_do_not_matter(solver, seed):
    """M -> P M Q^T takes the components to P R_k Q^T, when the first factors turn with it."""
    with precision("float64"):
        p, q = orthonormal(M, M, seed), orthonormal(D, D, seed + 1)
        init = Components(np.random.default_rng(seed).normal(size=(R, M)), directions(seed))
        turned = Components(init.b @ p.T, init.a @ q.T)
        target = matrix()
        plain = parallel(Regression.from_matrix(target), R, SOLVERS[solver], rounds=8, init=init)
        other = parallel(
            Regression.from_matrix(p @ target @ q.T), R, SOLVERS[solver], rounds=8, init=turned
        )
        close(maps(other.components), p @ maps(plain.components) @ q.T, "float64", 100)


# Whitening is held by tests/deflation/problem; a solver sees nothing else of the inputs.
@pytest.mark.thorough
@pytest.mark.parametrize("solver", SOLVERS)
def test_inputs_of_least_squares_solvers_may_be_mixed(solver):
    """X -> A X with an invertible A: whitened solvers reach the same predictions."""
    x, y = data()
    mix = np.random.default_rng(0).normal(size=(D, D))
    with precision("float64"):
        plain = parallel(Regression.from_data(x, y), R, SOLVERS[solver], rounds=400)
        mixed = parallel(Regression.from_data(mix @ x, y), R, SOLVERS[solver], rounds=400)
        wanted = plain.components.predict(x)
        close(mixed.components.predict(mix @ x), wanted, "float64", 1e4)


def test_step_size_is_data_and_steps_are_not():
    problem = from_matrix()
    parallel(problem, R, gradient_descent(0.01), rounds=3)
    before = _advance.programs()
    parallel(problem, R, gradient_descent(0.02), rounds=3)
    assert _advance.programs() == before


# Numbers of any kind tests/rankwise/test_checks.py holds.
@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [float, jnp.float32, np.float64, np.float32, int])
def test_step_size_of_any_real_type(dtype):
    with precision("float64"):
        for precise in (np.float32, np.float64):
            problem = Regression.from_matrix(matrix().astype(precise) / 10)
            solution = parallel(problem, R, gradient_descent(dtype(1)), rounds=3)
            assert solution.components.b.dtype == precise


def test_one_step_size_per_component():
    """A column (r, 1) of equal entries is the number; other entries move their own worker only."""
    problem = from_matrix()
    number, same, last = (
        parallel(problem, R, GradientDescent(jnp.asarray(size)), rounds=5).components
        for size in (0.02, [[0.02], [0.02], [0.02]], [[0.02], [0.02], [0.04]])
    )
    close(maps(same), maps(number), "float32")
    close(maps(last)[:2], maps(number)[:2], "float32")
    assert np.linalg.norm(maps(last)[2] - maps(number)[2]) > 1e-2


@pytest.mark.parametrize("way", [sequential, sharded, joint])
@pytest.mark.parametrize("shape", [(R, 1), (2, 1), (1, R)])
def test_workers_that_are_not_in_one_block_share_a_step_size(way, shape):
    with pytest.raises(ValueError) as error:
        way(from_matrix(), R, GradientDescent(jnp.full(shape, 0.02)))
    assert "step_size" in one_line(error) and str(shape) in one_line(error)


def test_first_factors_scale_with_the_target():
    """Random factors of gradient descent are of the size of the target, whatever its units."""
    for scale in (1e-6, 1.0, 1e6):
        target = np.asarray(matrix() * scale, np.float32)
        state = start(Regression.from_matrix(target), R, gradient_descent())
        ratio = np.linalg.norm(state.progress.factors.b, axis=1) ** 2 / (SIZES[0] * scale)
        assert np.all((ratio > 0.02) & (ratio < 10))
        np.testing.assert_array_equal(state.progress.factors.a, 0)


@pytest.mark.parametrize("way", [parallel, sequential])
def test_divergence_is_reported(way):
    solution = way(from_matrix(), R, gradient_descent(10.0))
    assert solution.status is Status.NOT_FINITE
    assert "step_size" in solution.message


@pytest.mark.parametrize(
    ("sweeps", "staggered"), [thorough(60, True), thorough(60, False), (1, True)]
)
def test_private_workers_leave_the_direction_that_was_published(sweeps, staggered):
    """A worker that converged in private to its predecessor's direction has M_k a = 0 afterwards;
    power iteration alone would report zero components as converged."""
    sizes = (1, 0.3, 0.1, 0.03, 0.01)
    with precision("float64"):
        problem = from_matrix(sizes)
        for seed in range(4):
            solution = parallel(
                problem,
                4,
                alternating(sweeps),
                rounds=40,
                staggered=staggered,
                key=jax.random.key(seed),
            )
            np.testing.assert_allclose(solution.history.size[-1], sizes[:4], rtol=1e-8)


def test_numbers_of_rounds_share_a_program():
    parallel(from_matrix(), R, rounds=3)
    before = _advance.programs()
    for rounds in (1, 7, 256):
        solution = parallel(from_matrix(), R, rounds=rounds)
        assert solution.history.size.shape == (rounds, R)
    assert _advance.programs() == before
    parallel(from_matrix(), R, rounds=257)
    assert _advance.programs() == before + 1


# tests/deflation/test_portions.py holds other runs within a program.
@pytest.mark.thorough
def test_within_a_program_the_history_has_the_rounds_asked_for():
    problem = from_matrix()
    history = jax.jit(lambda: parallel(problem, R, rounds=3).history)()
    assert history.size.shape == (3, R)
