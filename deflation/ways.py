"""The ways to run, and the exact answer. Same problem, same solvers, same `Solution`."""

from __future__ import annotations

import jax

from deflation import budgets
from deflation.growth import Rule
from deflation.problem.components import Components
from deflation.problem.regression import Regression
from deflation.rounds.run import advance as advance_run
from deflation.rounds.run import finish
from deflation.rounds.start import EACH, start
from deflation.rounds.state import Solution
from deflation.solvers.sketching import Sketch
from deflation.solvers.solver import Solver
from rankwise import checks


def sequential(
    problem: Regression,
    rank: int,
    solver: Solver | None = None,
    *,
    budget=None,
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    tolerance: float | None = None,
    tolerance_of: str = "move",
    grow: Rule | None = None,
    orthogonal: bool = False,
    reoptimise: int = 0,
    full_rank: int = 0,
    certify: bool = True,
) -> Solution:
    """One rank at a time: min_{b,a} ||Y_k - b a^T X||_F, Y_{k+1} = Y_k - b_k a_k^T X, k = 1..rank.

    Args:
      problem: the Regression.
      rank: number of components, 1..min(m, d).
      solver: the rank-one solver, `alternating()` when None; with narrow gaps `krylov()` needs
        fewer products.
      budget: rounds of each component: a `Budget`, a list of integers, or their total (split
        equally); 50 each when None. A budget made by `budgets.adaptive` passes unused rounds on,
        and one by `budgets.online` divides its total by what the run sees of each component.
      init: "random", "sketch" or a `Sketch` (from a small random Krylov basis), or Components of
        that rank.
      key: a typed JAX key for the first factors; `jax.random.key(0)` when None.
      tolerance: a component is done when ||R_k - R'_k|| <= tolerance ||R_k||; None uses the whole
        budget.
      tolerance_of: "move" as above, or "error": what is left to go is held against the tolerance,
        the sum ||R_k - R'_k|| rho / (1 - rho) of the moves to come at the rate rho of the last two
        rounds. At a slow rate a component that moves by the tolerance is many times as far from
        where it goes. Not before a component's third round; below about eps / (1 - rho) rounding
        hides the rate, and moves within rounding count as done. A slow rate that a faster one still
        hides is not seen: the moves do not know of it yet. Both only stop a run; what is claimed of
        its errors is the status, by `bounds`.
      grow: `explained_energy(...)` or `noise_floor(...)`: stop adding components when it says so;
        `rank` is then the most.
      orthogonal: keep new factors orthogonal to the earlier ones (in output coordinates).
      reoptimise: after every such number of components, one round for each earlier component
        against all others; 0 is never.
      full_rank: after every such number of components, one joint least-squares step of the whole
        model; 0 is never. These three are the extensions named as future work in the paper.
      certify: bound the errors, as in `finish`; of a small problem that takes longer than its
        rounds. Without it the bounds are infinite, and no run is said to have converged.

    Returns:
      A Solution in the problem's dtype; its `rounds` count the rounds of all components together.
      Its status is CONVERGED where `bounds` prove every error to be within the tolerance.

    Raises:
      ValueError: rank outside 1..min(m, d), a budget smaller than the rank, and every other
        argument outside its range; the message names the argument, the value and what is allowed.

    Source: arXiv 2505.22602, Algorithm 2.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, sequential
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> [round(float(s), 3) for s in sequential(problem, 2).history.size[-1]]
      [4.0, 2.0]
    """
    checks.instance("problem", problem, Regression, "a Regression")
    rank = checks.integer("rank", rank, 1, min(problem.shape), why=" = min(m, d)")
    certify = checks.flag("certify", certify)
    plan = budgets.as_budget(EACH * rank if budget is None else budget, rank)
    state = start(
        problem,
        rank,
        solver,
        method="sequential",
        init=init,
        key=key,
        tolerance=tolerance,
        tolerance_of=tolerance_of,
        grow=grow,
        budget=plan,
        orthogonal=orthogonal,
        reoptimise=reoptimise,
        full_rank=full_rank,
    )
    return finish(advance_run(state, plan.total), certify=certify)


def parallel(
    problem: Regression,
    rank: int,
    solver: Solver | None = None,
    *,
    rounds: int = 50,
    staggered: bool = True,
    advance: bool = True,
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    tolerance: float | None = None,
    tolerance_of: str = "move",
    grow: Rule | None = None,
    orthogonal: bool = False,
    staleness: int = 0,
    certify: bool = True,
) -> Solution:
    """All workers at once, on one device: in round l worker k improves its answer to

        min_{b,a} 1/2 ||M - sum_{j<k} R_{j,l-1} - b a^T||_F^2

    with the components R_{j,l-1} that its predecessors published last. Errors of a predecessor are
    corrected as the predecessor improves, instead of being frozen in.

    Args:
      problem, rank, solver, init, key, tolerance, tolerance_of, grow, certify: as in
        `sequential`.
      rounds: at most this many rounds; fewer with a tolerance.
      staggered: worker k publishes from round k on; False publishes all from the first. A warm
        start ("sketch" or Components) is published at once, so there is nothing to stagger.
      advance: workers that do not publish yet refine in private (advance learning).
      orthogonal: project new factors on the complement of their predecessors'.
      staleness: tau >= 0, predecessors are subtracted as R_{j,l-1-tau}, a worker's own factors stay
        its last ones. The fixed point and the late rate are those of tau = 0
        (linear_theory/parallel/staleness/theory.py); over devices it lets the exchange of a round
        run beside the next one. Staggered, worker k publishes from the first round in which it sees
        all workers before it, 1 + (k - 1) (tau + 1); a worker is done when what it saw last is
        within the tolerance of what has stayed.

    Returns:
      A Solution in the problem's dtype.

    Raises:
      ValueError: as `sequential`; rounds < 1; staleness < 0.

    Source: arXiv 2502.17615, Algorithm 1; arXiv 2605.10741 (AdaPaD).

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, parallel
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> solution = parallel(problem, 2, rounds=60)
      >>> solution.status.name, round(float(problem.residual(solution.components)), 4)
      ('CONVERGED', 1.0)
    """
    rounds, certify = checks.integer("rounds", rounds, 1), checks.flag("certify", certify)
    state = start(
        problem,
        rank,
        solver,
        method="parallel",
        init=init,
        key=key,
        tolerance=tolerance,
        tolerance_of=tolerance_of,
        grow=grow,
        staggered=staggered,
        advance=advance,
        orthogonal=orthogonal,
        staleness=staleness,
    )
    return finish(advance_run(state, rounds), certify=certify)


def sharded(
    problem: Regression,
    rank: int,
    solver: Solver | None = None,
    *,
    rounds: int = 50,
    mesh: jax.sharding.Mesh | None = None,
    axis_name: str = "worker",
    row_axis: str | None = None,
    staggered: bool = True,
    advance: bool = True,
    init: str | Sketch | Components = "random",
    key: jax.Array | None = None,
    tolerance: float | None = None,
    tolerance_of: str = "move",
    grow: Rule | None = None,
    orthogonal: bool = False,
    staleness: int = 0,
    certify: bool = True,
) -> Solution:
    """`parallel` over devices: component k on device k mod P, one all-gather per round.

    The same worker body as `parallel` and, up to rounding, the same answer for any number of
    devices; the rank need not be a multiple of it. Per round P ceil(r/P) (m + d + 2) numbers are
    exchanged, and nothing else; with staleness >= 1 no product of the next round waits for them
    (exchange.py). With `jax.distributed` the devices may belong to several processes;
    every process calls this function with the same arguments.

    Args:
      mesh: a device mesh with an axis `axis_name`; all devices when None. The problem is placed on
        all of its devices.
      row_axis: another axis of the mesh, of Q devices, for an M that is too large for one: each
        then holds m/Q of its rows, and nothing of the run forms the whole of it. K workers of a
        device exchange K m numbers along that axis for a product with M and K d for one with M^T;
        along `axis_name` there is still one all-gather a round. For an M that is not to pass
        through one device either, give `Regression.from_matrix` an array that is cut like this. The
        axis may go over several processes; no process has all rows then to save such a run.
      others: as in `parallel`.

    Returns:
      A Solution, replicated over the mesh.

    Raises:
      ValueError: as `parallel`; a mesh without that axis; for rows, m not a multiple of Q, or an
        operator.

    Source: arXiv 2605.10741 (AdaPaD), one all-gather per round.

    Example:
      >>> import jax.numpy as jnp
      >>> from deflation import Regression, sharded
      >>> problem = Regression.from_matrix(jnp.diag(jnp.array([4.0, 2.0, 1.0])))
      >>> round(float(problem.residual(sharded(problem, 2, rounds=60).components)), 4)
      1.0
    """
    rounds, certify = checks.integer("rounds", rounds, 1), checks.flag("certify", certify)
    state = start(
        problem,
        rank,
        solver,
        method="sharded",
        init=init,
        key=key,
        tolerance=tolerance,
        tolerance_of=tolerance_of,
        grow=grow,
        staggered=staggered,
        advance=advance,
        orthogonal=orthogonal,
        staleness=staleness,
        mesh=mesh,
        axis_name=axis_name,
        row_axis=row_axis,
    )
    return finish(advance_run(state, rounds), certify=certify)
