"""What the ways are held against: the exact answer, and all components fitted at once."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem import gram
from deflation.problem.components import Components, canonical
from deflation.problem.regression import Regression
from deflation.problem.targets import Scaled, Target, entries, times, times_transposed
from deflation.problem.units import host_unit_of, unit_of
from deflation.rounds.bounds import certify as certified
from deflation.rounds.bounds import unknown
from deflation.rounds.outcome import verdict
from deflation.rounds.run import advance as advance_run
from deflation.rounds.run import answer, finish
from deflation.rounds.start import start
from deflation.rounds.state import Decomposition, History, Solution, Status
from deflation.solvers.sketching import Sketch
from deflation.solvers.solver import Solver
from rankwise import checks
from rankwise.compiling import jit_quickly


def joint(
    problem: Regression,
    rank: int,
    solver: Solver,
    *,
    rounds: int = 50,
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    tolerance: float | None = None,
    tolerance_of: str = "move",
) -> Solution:
    """The baseline without deflation: descent on 1/2 ||M - B^T A||_F^2, all columns at once.

    It is the worker body with every other component subtracted instead of the predecessors. Its sum
    converges to the best rank-r approximation, but its components are not the singular ones, and a
    prefix of it is not a best smaller model. Its status speaks of the sum, by `bound_of_sum` beside
    the tolerance times the root of the summed squares of the sizes; `bounds` are large.

    Args:
      solver: `gradient_descent(step_size)`. The adaptive step looks at one worker's curvature and
        is no bound for columns that descend together, so a number is needed here.
      others: as in `parallel`.

    Raises:
      ValueError: as `parallel`; a solver other than gradient descent, or without step size.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, gradient_descent, joint
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> solution = joint(problem, 2, gradient_descent(0.1), rounds=400)
      >>> round(float(problem.residual(solution.components)), 4)
      1.0
    """
    rounds = checks.integer("rounds", rounds, 1)
    state = start(
        problem,
        rank,
        solver,
        method="joint",
        init=init,
        key=key,
        tolerance=tolerance,
        tolerance_of=tolerance_of,
    )
    return finish(advance_run(state, rounds))


def exact(problem: Regression, rank: int, *, certify: bool = True) -> Solution:
    """The best rank-r answer: the leading singular triplets s_k u_k v_k^T of M.

    A dense target by a full SVD in its own dtype, or a small one of float32 by the leading
    eigenvectors of its Gram in float64, which takes a third of the time and is exact to rounding;
    an operator by ARPACK on the host. `Solution.decomposition` says which it was.

    Args:
      problem: the Regression.
      rank: number of components, 1..min(m, d); for an operator at most min(m, d) - 1.
      certify: bound the errors, as in `finish`, which takes longer than a small decomposition.
        Without it nothing is looked at, and the status is NOT_PROVED.

    Returns:
      A Solution after 0 rounds; status SMALL_GAP where neighbouring values (nearly) coincide, since
      single components are then one choice of many, RANK_CUTS_GROUP where s_r and s_{r+1} do, since
      then the sum is as well. Differentiable in the target.

    Raises:
      ValueError: rank outside its range.

    Source: Eckart and Young (1936).

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, exact
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> solution = exact(problem, 2)
      >>> round(float(problem.residual(solution.components)), 4), solution.decomposition.name
      (1.0, 'GRAM')
    """
    checks.instance("problem", problem, Regression, "a Regression")
    certify = checks.flag("certify", certify)
    operator = entries(problem.target) is None
    limit, why = min(problem.shape), " = min(m, d)"
    if operator:
        limit, why = limit - 1, f"{why} - 1 for an operator"
    rank = checks.integer("rank", rank, 1, limit, why=why)
    decomposition, unit, factors, beyond = _decomposition(problem.target, rank, operator)
    target = _constant(problem.target)
    if certify:
        bounds = certified(Scaled(target, 1 / unit), factors, jnp.asarray(rank), beyond)
        code, component = verdict(factors, bounds, np.int32(rank))
        bounds = bounds.multiplied(checks.on_host(unit))
    else:
        bounds = unknown(rank, problem.dtype)
        code, component = Status.NOT_PROVED, np.asarray(1)
    if decomposition is Decomposition.GRAM:  # on the host, and nothing of it is traced
        components = problem.to_original(
            Components(*map(jnp.asarray, (unit * factors.b, factors.a)))
        )
    else:
        components = answer(problem, unit, factors)
    empty = np.zeros((0, rank), problem.dtype)
    return Solution(
        components=components,
        status=code if checks.traced(code) else Status(int(code)),
        rounds=np.asarray(0, np.int32),
        history=History(empty, empty),
        rank=np.asarray(rank, np.int32),
        component=component,
        bounds=bounds.components,
        bound_of_sum=bounds.of_sum,
        proved=bounds.proved,
        decomposition=decomposition,
    )


def _decomposition(target: Target, rank: int, operator: bool):
    """How it was done, the unit of the target, its leading triplets and the value after them."""
    # Of the target as it is: what is differentiated is no array, but its constant is one.
    by_gram = gram.leading(target, rank) if gram.suits(target) else None
    target = _constant(target)
    if operator:
        unit = unit_of(target)
        return Decomposition.ARPACK, unit, *_leading(*_arpack(Scaled(target, 1 / unit), rank), rank)
    if by_gram is None:
        return Decomposition.SVD, *_decomposed(target, rank)
    factors, values = by_gram
    unit = host_unit_of(np.asarray(target))
    factors = factors._replace(b=factors.b / unit)
    return Decomposition.GRAM, unit, factors, np.asarray(values[rank], target.dtype) / unit


def _constant(target: Target) -> Target:
    """The target without a derivative."""
    return jax.lax.stop_gradient(target) if checks.traced(target) else target


@functools.partial(jit_quickly, static_argnames="rank")
def _decomposed(target: jax.Array, rank: int):
    """The unit of an array, its leading triplets and the value after them in that unit."""
    unit = unit_of(target)
    return unit, *_leading(*jnp.linalg.svd(target / unit, full_matrices=False), rank)


@functools.partial(jit_quickly, static_argnames="rank")
def _leading(u, s, vt, rank: int):
    """The first triplets in their canonical form, and the value after them."""
    factors = canonical(Components((u[:, :rank] * s[:rank]).T, vt[:rank]))
    return factors, jnp.append(s, 0)[rank]


def _arpack(target: Target, rank: int):
    """rank + 1 leading triplets of an operator, on the host."""
    from scipy.sparse.linalg import LinearOperator, svds

    if checks.traced(target):
        raise ValueError("exact of an operator runs on the host; it cannot be traced")

    def vector_product(function):
        run = jax.jit(lambda v: function(target, v[None])[0])
        return lambda v: np.asarray(run(jnp.asarray(v.reshape(-1), target.dtype)))

    operator = LinearOperator(
        target.shape,
        matvec=vector_product(times),
        rmatvec=vector_product(times_transposed),
        dtype=target.dtype,
    )
    count = min(rank + 1, min(target.shape) - 1)
    start_vector = np.random.default_rng(0).normal(size=min(target.shape))
    u, s, vt = svds(operator, k=count, v0=start_vector.astype(target.dtype))
    order = np.argsort(-s)
    return jnp.asarray(u[:, order]), jnp.asarray(s[order]), jnp.asarray(vt[order])
