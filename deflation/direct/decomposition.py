"""Leading components within a tolerance, by the method that is fastest for the size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from deflation.direct import blocks, lanczos
from deflation.direct.choice import choose
from deflation.problem.components import Components, frobenius, norms
from deflation.problem.regression import Regression
from deflation.reference import judged_exact, solved
from deflation.rounds.decomposition import Decomposition
from deflation.rounds.proving import until_proved
from deflation.rounds.run import advance, finish
from deflation.rounds.start import start
from deflation.rounds.state import Solution, Status
from deflation.solvers.alternating import alternating
from deflation.solvers.sketching import Sketch
from rankwise import checks

NAMED = {
    "exact": None,
    "lanczos": Decomposition.LANCZOS,
    "blocks": Decomposition.BLOCKS,
    "rounds": Decomposition.ROUNDS,
}
METHODS = ("auto", *NAMED)
ERRORS = ("components", "sum")
ROUNDS = 200  # at most, of parallel workers that start from a sketch
# Nothing is gained by more effort: it is proved, or no method tells the components apart.
ENDS = (Status.CONVERGED, Status.RANK_CUTS_GROUP, Status.NOT_FINITE)
EQUAL = 64  # units of rounding, relative: values closer than that no effort tells apart


def decompose(
    problem: Regression,
    rank: int,
    *,
    tolerance: float = 1e-3,
    error: str = "components",
    method: str = "auto",
    effort: int | None = None,
    certify: bool = True,
) -> Solution:
    """The leading components R_k of M, ||R_k - R*_k||_F <= tolerance ||R_k||_F, in the least time.

    Where no single method wins it is chosen by (m, d, r, error), see choice.py, and
    `Solution.decomposition` says which it was and why. A method that does not reach the tolerance
    with the effort that usually does is given more of it, and the exact answer is the last resort.

    Args:
      problem: the Regression.
      rank: number of components, 1..min(m, d).
      tolerance: of every component, relative to its size, > 0.
      error: "components", or "sum" where ||sum_k R_k - best|| <= tolerance ||sum_k R_k|| is enough:
        of components that hardly differ it takes a fraction of the time.
      method: "auto"; "exact" (as `exact`), "lanczos" (PROPACK, single vectors), "blocks" (a block
        Krylov space), or "rounds" (parallel workers from a sketch, until it is proved). Targets
        that are no array in a CPU's memory have "exact" and "rounds"; "auto" of them is "rounds".
      effort: the first one of "lanczos" or "blocks", 0 is the cheapest, beyond the last is the
        exact answer; None is the one that usually reaches the tolerance.
      certify: prove it, as in `finish`. Without it the usual effort is all, nothing is looked at,
        and the status is NOT_PROVED.

    Returns:
      A Solution; CONVERGED where its bounds prove the tolerance. Where values coincide, SMALL_GAP
      or RANK_CUTS_GROUP. Not differentiable but by "exact" and "rounds".

    Raises:
      ValueError: an argument outside its range, a traced problem, a method that the target does not
        have.

    Example:
      >>> import numpy as np
      >>> from deflation import Regression, decompose
      >>> matrix = np.diag(0.9 ** np.arange(80.0))
      >>> solution = decompose(Regression.from_matrix(matrix), 4)
      >>> solution.decomposition.name, solution.status.name
      ('LANCZOS', 'CONVERGED')
      >>> solution.decomposition.reason
      'few components: single-vector Lanczos (PROPACK) has the fewest products.'
    """
    checks.instance("problem", problem, Regression, "a Regression")
    rank = checks.integer("rank", rank, 1, min(problem.shape), why=" = min(m, d)")
    checks.positive("tolerance", tolerance)
    checks.choice("error", error, ERRORS)
    checks.choice("method", method, METHODS)
    effort = None if effort is None else checks.integer("effort", effort, 0)
    certify = checks.flag("certify", certify)
    if checks.traced(problem):
        raise ValueError("problem is traced; allowed is one outside of jax.jit, vmap and grad")
    chosen = _chosen(problem, rank, error, method)
    how = {"certify": certify, "tolerance": tolerance, "joint": error == "sum"}
    if chosen is Decomposition.ROUNDS:
        return _by_rounds(problem, rank, tolerance, error, certify)
    if chosen is not None:
        effort = _usual(chosen, tolerance, error) if effort is None else effort
        for factors in _attempts(problem, rank, chosen, effort):
            if factors is None:
                break
            solution = solved(problem, factors, None, chosen, **how)
            if not certify or solution.status in ENDS or _alike(solution, factors):
                return solution
    return judged_exact(problem, rank, **how)


def _alike(solution: Solution, factors: Components) -> bool:
    """Whether components are not told apart as their values are the same, and not for the bounds
    of a first attempt, which a better one has smaller."""
    if solution.status is not Status.SMALL_GAP:
        return False
    sizes = norms(factors, np)
    gaps = np.abs(np.diff(sizes)) / np.maximum(sizes[:-1], np.finfo(sizes.dtype).tiny)
    return bool(np.min(gaps, initial=np.inf) <= EQUAL * np.finfo(sizes.dtype).eps)


def _chosen(problem: Regression, rank: int, error: str, method: str) -> Decomposition | None:
    """The method; None for `exact`."""
    host = checks.in_memory(problem.target)
    if method == "auto":
        if not host:
            return Decomposition.ROUNDS
        chosen = choose(problem.shape, rank, error)
        return None if chosen is Decomposition.GRAM else chosen
    if NAMED[method] in (Decomposition.LANCZOS, Decomposition.BLOCKS):
        if not host:
            raise ValueError(
                f"method is {method!r}; allowed for an operator, or an array that is not in a "
                "CPU's memory, are 'auto', 'exact' and 'rounds'"
            )
        if 2 * rank > min(problem.shape):
            raise ValueError(
                f"method is {method!r}; allowed for a rank above half of min(m, d) = "
                f"{min(problem.shape)} are 'auto', 'exact' and 'rounds'"
            )
    return NAMED[method]


def _usual(chosen: Decomposition, tolerance: float, error: str) -> int:
    """The effort that usually reaches the tolerance."""
    digits = max(0, math.ceil(-math.log10(tolerance)))
    if chosen is Decomposition.LANCZOS:
        return min(digits // 3, len(lanczos.TOLERANCES) - 1)
    # Components turn into each other long after their sum is right.
    return min(digits if error == "sum" else digits + 1, len(blocks.LADDER))


def _attempts(
    problem, rank: int, chosen: Decomposition, effort: int
) -> Iterator[Components | None]:
    """Components by the method, with this effort and more; None where it breaks down, as on a
    matrix that is not finite, or PROPACK's on one of lower rank."""
    if chosen is Decomposition.LANCZOS:
        run, ladder = lanczos.leading, lanczos.TOLERANCES
    else:
        run, ladder = blocks.leading, blocks.efforts(rank, min(problem.shape))
    matrix = np.asarray(problem.target)
    for own in ladder[effort:]:
        try:
            factors = run(matrix, rank, own)
        except np.linalg.LinAlgError:
            factors = None
        finite = factors is not None and all(np.all(np.isfinite(rows)) for rows in factors)
        yield factors if finite else None


def _by_rounds(problem, rank: int, tolerance: float, error: str, certify: bool) -> Solution:
    solver, first = alternating(consistent=True), Sketch()
    if certify and error == "components":
        state = start(problem, rank, solver, init=first)
        solution = until_proved(state, tolerance, ROUNDS)[1]
    else:
        state = start(problem, rank, solver, init=first, tolerance=tolerance)
        solution = finish(advance(state, ROUNDS), certify=certify)
    if certify and error == "sum":
        whole = frobenius(norms(problem.to_whitened(solution.components)))
        if solution.bound_of_sum <= tolerance * whole:
            solution = solution._replace(status=Status.CONVERGED, component=np.asarray(0))
    return solution._replace(decomposition=Decomposition.ROUNDS)
