"""What a status claims beside the truth: hard problems, their true errors by numpy in float64.

A row per program (way, solver, start, shape, dtype) and its problems, which are drawn from spectra
that are hard to tell apart and mixed with the tolerances `TOLERANCES`:

    error_ours        errors of a component or of the sum above their bound; has to be 0
    error_competitor  CONVERGED said of a component that is not within the tolerance; has to be 0
    right, converged  runs all of whose components are within it, and those of them that say so
    proved            runs whose bounds rest on no assumption
    seconds_ours, seconds_competitor
                      of all runs of the row, compilation included, and of numpy's decompositions

Where values are next to each other numpy's own components are off by rounding over the gap, which
is allowed for. `size=quick` draws few problems, `full` ten thousand.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from deflation import (
    Regression,
    Status,
    alternating,
    gradient_descent,
    joint,
    krylov,
    parallel,
    sequential,
)
from deflation.rounds.outcome import FLOOR
from launch.bench.rows import record
from launch.shell import waiting

PROBLEMS = {"quick": 20, "full": 420}
"""Problems of a program."""
RANK = 4
TOLERANCES = (-1.0, 1e-2, 1e-3, 1e-5)  # -1 is none, for which the status takes sqrt(eps)
ROUNDS = {"parallel": {"rounds": 150}, "sequential": {"budget": 100 * RANK}}
SHAPES = {"tiny": (12, 10), "wide": (30, 40), "large": (80, 70)}  # the last is not searched whole
# way, solver, start, tolerance_of, shape, whether M is an operator
PROGRAMS = {
    "parallel, alternating": (parallel, alternating(), "random", "move", "tiny", False),
    "parallel, alternating, sketch": (parallel, alternating(), "sketch", "error", "large", False),
    "parallel, consistent": (
        parallel,
        alternating(consistent=True),
        "random",
        "error",
        "wide",
        False,
    ),
    "parallel, consistent, sketch": (
        *(parallel, alternating(consistent=True), "sketch", "move", "large", False),
    ),
    "parallel, krylov": (parallel, krylov(), "random", "error", "large", False),
    "parallel, krylov, sketch": (parallel, krylov(), "sketch", "move", "tiny", False),
    "parallel, krylov, operator": (parallel, krylov(), "random", "move", "large", True),
    "parallel, descent": (parallel, gradient_descent(steps=5), "random", "move", "tiny", False),
    "parallel, descent, sketch": (
        *(parallel, gradient_descent(steps=5), "sketch", "error", "wide", False),
    ),
    "sequential, alternating": (sequential, alternating(), "random", "error", "tiny", False),
    "sequential, krylov, sketch": (sequential, krylov(), "sketch", "move", "large", False),
    "joint, descent": (joint, gradient_descent(0.3), "random", "move", "tiny", False),
}
DTYPES = ("float32", "float64")


class Truth(NamedTuple):
    """Leading maps (RANK, m, d), the singular values, and how far numpy leaves the maps open."""

    maps: np.ndarray
    values: np.ndarray
    doubt: np.ndarray


def spectrum(g: np.random.Generator, n: int) -> np.ndarray:
    """n singular values, largest first, of a kind drawn at random."""
    kind = g.integers(7)
    k = np.arange(1, n + 1)
    values = np.sort(g.uniform(0.2, 1, n))[::-1] * 0.7 ** (k / 2)
    if kind in (0, 1):  # narrow gaps, one of them possibly behind the last component
        for _ in range(g.integers(1, 4)):
            at = g.integers(RANK)
            values[at + 1 :] *= values[at] * (1 - 10 ** -g.uniform(1, 7)) / values[at + 1]
    elif kind == 2:  # a plateau
        values = np.where(k <= RANK, 1 - 10 ** -g.uniform(2, 4) * k, 0.5 / np.sqrt(k))
    elif kind == 3:  # graded
        values = np.geomspace(1, 10 ** -g.uniform(3, 12), n)
    elif kind == 4:  # of low rank
        values[g.integers(1, RANK + 2) :] = 0
    elif kind == 5:  # exact ties
        at = g.integers(RANK)
        values[at : at + g.integers(2, 4)] = values[at]
    else:
        values = k ** -g.uniform(0.3, 3)
    return np.sort(values)[::-1] / values.max()


def matrix(g: np.random.Generator, m: int, d: int) -> np.ndarray:
    """An (m, d) matrix with a hard spectrum; one in ten has axes as its singular vectors."""
    n = min(m, d)
    values = spectrum(g, n)
    if g.uniform() < 0.1:
        return np.pad(np.diag(values), ((0, m - n), (0, d - n)))
    left, right = (np.linalg.qr(g.normal(size=(rows, n)))[0] for rows in (m, d))
    return (left * values) @ right.T


def truth(target: np.ndarray) -> Truth:
    """By numpy in float64; the doubt is its residual over the gap, and rounding."""
    u, s, vt = np.linalg.svd(target.astype(np.float64), full_matrices=False)
    left, right = u.T[:RANK], vt[:RANK]
    maps = s[:RANK, None, None] * left[:, :, None] * right[:, None, :]
    # With more digits, where numpy has them: they are up to 50 eps, and ours are less.
    exact, x, y = (rows.astype(np.longdouble) for rows in (target, left, right))
    off = np.hypot(
        np.linalg.norm(y @ exact.T - s[:RANK, None] * x, axis=1),
        np.linalg.norm(x @ exact - s[:RANK, None] * y, axis=1),
    )
    off = np.maximum(4 * float(off.max()), 16 * np.finfo(np.float64).eps * s[0])
    gap = np.abs(np.diff(s)[:RANK])
    gap = np.minimum(gap, np.append(np.inf, gap[:-1]))
    with np.errstate(divide="ignore"):
        relative = np.minimum(2, off / gap)
    return Truth(maps, s, relative * s[:RANK] + off)


def solve(program, targets: np.ndarray, tolerances: np.ndarray):
    """Solutions of all problems, in one program."""
    way, solver, init, measure, _, operator = program
    options = ROUNDS["sequential" if way is sequential else "parallel"] | {"init": init}

    def solution(target, tolerance):
        problem = Regression.from_matrix(target)
        if operator:
            products = Partial(jnp.matmul, target), Partial(jnp.matmul, target.T)
            problem = Regression.from_operator(*products, target.shape, target.dtype)
        return way(
            problem, RANK, solver, tolerance=tolerance, tolerance_of=measure, **options
        )._replace(history=None)

    return jax.block_until_ready(jax.jit(jax.vmap(solution))(targets, tolerances))


def judged(program, solutions, targets, tolerances, truths) -> dict[str, int]:
    """Counts over the problems of a row."""
    counts = dict.fromkeys(("violated", "false", "right", "converged", "proved"), 0)
    eps = float(np.finfo(targets.dtype).eps)
    single = program[0] is not joint
    bounded = hasattr(solutions, "bounds")
    for i, exact in enumerate(truths):
        b, a = (np.asarray(rows[i], np.float64) for rows in solutions.components)
        off = b[:, :, None] * a[:, None, :] - exact.maps
        errors = np.linalg.norm(off, axis=(1, 2))
        whole = np.linalg.norm(off.sum(0))
        if bounded:
            above = np.any(errors > solutions.bounds[i] + exact.doubt)
            counts["violated"] += bool(
                above | (whole > solutions.bound_of_sum[i] + exact.doubt[-1])
            )
            counts["proved"] += int(solutions.proved[i])
        allowed = tolerances[i] if tolerances[i] >= 0 else eps**0.5
        rounded = max(
            np.linalg.norm(exact.values), max(targets.shape[1:]) ** 0.5 / 8 * exact.values[0]
        )
        floor = FLOOR * eps / 2 * rounded
        sizes = np.linalg.norm(b, axis=1) * np.linalg.norm(a, axis=1)
        if single:
            right = np.all(errors <= allowed * sizes + floor)
            wrong = np.any(errors > allowed * sizes + floor + exact.doubt)
        else:
            right = whole <= allowed * np.linalg.norm(sizes) + floor
            wrong = whole > allowed * np.linalg.norm(sizes) + floor + exact.doubt[-1]
        said = int(solutions.status[i]) == Status.CONVERGED
        counts["false"] += bool(said and wrong)
        counts["right"] += bool(right)
        counts["converged"] += bool(right and said)
    return counts


def row(name: str, dtype: str, problems: int, seed: int = 0) -> dict[str, Any]:
    """The row of a program and a dtype."""
    program = PROGRAMS[name]
    g = np.random.default_rng([seed, list(PROGRAMS).index(name)])
    targets = np.stack([matrix(g, *SHAPES[program[4]]) for _ in range(problems)]).astype(dtype)
    tolerances = g.choice(TOLERANCES, problems).astype(dtype)
    started = time.perf_counter()
    truths = [truth(target) for target in targets]
    taken = time.perf_counter() - started
    with jax.enable_x64(dtype == "float64"):
        solutions = jax.tree.map(np.asarray, solve(program, targets, tolerances))
    seconds = time.perf_counter() - started - taken, taken
    counts = judged(program, solutions, targets, tolerances, truths)
    errors = float(counts.pop("violated")), float(counts.pop("false"))
    case = f"{name}, {dtype}, {problems} problems"
    return record("status", case, ("bounds", "float64 SVD"), seconds, errors, **counts)


def run(problems: int, seed: int = 0) -> tuple[list[dict[str, Any]], str]:
    """All rows, and a note with their sums."""
    cases = [(name, dtype) for dtype in DTYPES for name in PROGRAMS]
    rows = [row(*case, problems, seed) for case in waiting.progress(cases, len(cases), "programs")]
    keys = "error_ours", "error_competitor", "right", "converged", "proved"
    violated, false, right, said, proved = (int(sum(row[key] for row in rows)) for key in keys)
    note = (
        f"{len(rows) * problems} problems: {violated} with an error above its bound, {false} said "
        f"to have converged falsely; {right} all right, CONVERGED said of {said} of these; "
        f"{proved} bounds without assumption"
    )
    return rows, note
