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
from deflation.rounds.decomposition import Decomposition
from deflation.rounds.outcome import verdict
from deflation.rounds.run import advance as advance_run
from deflation.rounds.run import answer, finish
from deflation.rounds.start import start
from deflation.rounds.state import History, Solution, Status
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
    return judged_exact(problem, rank, certify=certify)


def judged_exact(
    problem: Regression,
    rank: int,
    *,
    certify: bool = True,
    tolerance: float = -1.0,
    joint: bool = False,
) -> Solution:
    """`exact`, judged as `solved` is: by a tolerance, and by the sum alone where that is asked."""
    checks.instance("problem", problem, Regression, "a Regression")
    how = {"certify": checks.flag("certify", certify), "tolerance": tolerance, "joint": joint}
    operator = entries(problem.target) is None
    limit, why = min(problem.shape), " = min(m, d)"
    if operator:
        limit, why = limit - 1, f"{why} - 1 for an operator"
    rank = checks.integer("rank", rank, 1, limit, why=why)
    # Of the target as it is: what is differentiated is no array, but its constant is one.
    by_gram = gram.leading(problem.target, rank) if gram.suits(problem.target) else None
    if by_gram is not None:
        return solved(problem, *by_gram, Decomposition.GRAM, **how)
    target = _constant(problem.target)
    if operator:
        decomposition, unit = Decomposition.ARPACK, unit_of(target)
        factors, beyond = _leading(*_arpack(Scaled(target, 1 / unit), rank), rank)
    else:
        decomposition = Decomposition.SVD
        unit, factors, beyond = _decomposed(target, rank)
    judged = _judged(target, unit, factors, beyond, **how)
    return _solution(problem, answer(problem, unit, factors), decomposition, *judged)


def solved(
    problem: Regression,
    factors: Components,
    beyond: np.ndarray | None,
    decomposition: Decomposition,
    *,
    certify: bool,
    tolerance: float = -1.0,
    joint: bool = False,
) -> Solution:
    """The Solution of factors that were computed on the host.

    Args:
      problem: of an array in memory.
      factors: of numpy, canonical and whitened, in the units of the target.
      beyond: the value after them, where it is known.
      decomposition: what they were computed by.
      certify, tolerance, joint: as in `finish`; the tolerance of `verdict`.
    """
    unit = host_unit_of(np.asarray(problem.target)) if certify else factors.b.dtype.type(1)
    own = factors._replace(b=factors.b / unit)
    beyond = None if beyond is None else beyond / unit
    judged = _judged(problem.target, unit, own, beyond, certify, tolerance, joint)
    components = problem.to_original(Components(*map(jnp.asarray, factors)))
    return _solution(problem, components, decomposition, *judged)


def _judged(target, unit, factors, beyond, certify: bool, tolerance=-1.0, joint: bool = False):
    """Bounds in the user's units, the status code, and the component that it speaks of."""
    rank = factors.b.shape[0]
    if not certify:
        return unknown(rank, target.dtype), Status.NOT_PROVED, np.asarray(1)
    bounds = certified(Scaled(target, 1 / unit), factors, np.int32(rank), beyond)
    code, component = verdict(factors, bounds, np.int32(rank), tolerance, joint=joint)
    return bounds.multiplied(checks.on_host(unit)), code, component


def _solution(problem, components, decomposition, bounds, code, component) -> Solution:
    rank = components.b.shape[0]
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
    from scipy.sparse.linalg import ArpackError, LinearOperator, svds

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
    try:
        u, s, vt = svds(operator, k=count, v0=start_vector.astype(target.dtype))
    except ArpackError as error:
        raise ValueError(
            f"ARPACK finds no components of the operator ({error}); allowed is one that is not zero"
        ) from error
    order = np.argsort(-s)
    return jnp.asarray(u[:, order]), jnp.asarray(s[order]), jnp.asarray(vt[order])
