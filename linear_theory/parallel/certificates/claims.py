"""Claims: the bounds of a `Solution`, on hard spectra in float32.

Legend: M (12, 9) in float32 with singular values s_k; a run of parallel workers of rank 3 in
float32 ends with components b_k a_k^T, which are compared with s_k u_k v_k^T of a decomposition of
the same M in float64, and their sum with M_r. The bounds are `Solution.bounds` and `.bound_of_sum`;
how they come about stands in `deflation.rounds.bounds`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import deflation
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import falling, generator, with_values

ROWS, COLUMNS, RANK = 12, 9, 3
LONGEST = 256  # rounds
TOLERANCE, PROVED = 1e-3, 28


class Ends(NamedTuple):
    """Errors and bounds of runs.

    Attributes:
      errors, bounds: of the components (trials, 3).
      error_of_sum, bound_of_sum: (trials,).
    """

    errors: np.ndarray
    bounds: np.ndarray
    error_of_sum: np.ndarray
    bound_of_sum: np.ndarray


def draw_runs(key, trials: int) -> list[tuple[np.ndarray, int, jax.Array]]:
    """Matrices, numbers of rounds from 1 to 256 and keys.

    Ratios of the spectra go up to 1 - 1e-7, there are ties among the leading three, and one value
    may be far below rounding.
    """
    rng = generator(key)
    closeness = 10.0 ** rng.uniform(-7, -0.3, (trials, COLUMNS - 1))
    # Between components and the rest there is a gap, or the sum is not defined either.
    closeness[:, RANK - 1] = rng.uniform(0.2, 0.6, trials)
    closeness[:, :2] *= rng.random((trials, 2)) > 0.2
    values = falling(1 - closeness)
    values[:, -1] *= np.where(rng.random(trials) < 0.3, 1e-12, 1)
    targets = with_values(rng, values, ROWS, COLUMNS).astype(np.float32)
    rounds = np.exp(rng.uniform(0, np.log(LONGEST), trials)).astype(int)
    keys = jax.random.split(key, trials)
    return list(zip(targets, rounds, keys, strict=True))


def draw_ends(key, trials: int) -> Ends:
    """Where the runs of `draw_runs` end."""
    ends = [end(*given) for given in draw_runs(key, trials)]
    return Ends(*(np.stack(column) for column in zip(*ends, strict=True)))


def end(target: np.ndarray, rounds: int, key: jax.Array) -> Ends:
    """Where one run ends."""
    problem = deflation.Regression.from_matrix(jnp.asarray(target))
    return ended(target, deflation.parallel(problem, RANK, rounds=int(rounds), key=key))


def ended(target: np.ndarray, solution: deflation.Solution) -> Ends:
    """Errors and bounds of a solution."""
    b, a = (np.asarray(rows, np.float64) for rows in solution.components)
    u, s, v = np.linalg.svd(target.astype(np.float64), full_matrices=False)
    wrong = b[:, :, None] * a[:, None] - (u * s).T[:RANK, :, None] * v[:RANK, None]
    return Ends(
        np.linalg.norm(wrong, axis=(1, 2)),
        np.asarray(solution.bounds, np.float64),
        np.linalg.norm(wrong.sum(axis=0)),
        np.asarray(solution.bound_of_sum, np.float64),
    )


def draw_matrices(key, trials: int) -> list[tuple[np.ndarray, jax.Array]]:
    """Matrices with ratios of values from .5 to .97, and keys; at most 28."""
    rng, count = generator(key), min(trials, PROVED)
    values = falling(1 - 10.0 ** rng.uniform(-1.5, -0.3, (count, COLUMNS - 1)))
    targets = with_values(rng, values, ROWS, COLUMNS).astype(np.float32)
    return list(zip(targets, jax.random.split(key, count), strict=True))


def _stopped(runs, proved: bool = True) -> Evidence:
    """Errors in units of the tolerance, where a run stopped before the last round."""
    rows = []
    for target, key in runs:
        problem = deflation.Regression.from_matrix(jnp.asarray(target))
        tolerance = None if proved else TOLERANCE
        state = deflation.start(problem, RANK, key=key, tolerance=tolerance)
        if proved:
            state, solution = deflation.until_proved(state, TOLERANCE, LONGEST)
            stopped = solution.status == deflation.Status.CONVERGED
        else:
            solution = deflation.finish(deflation.advance(state, LONGEST), certify=False)
            stopped = solution.rounds < LONGEST
        sizes = np.linalg.norm(solution.components.b, axis=1) * np.linalg.norm(
            solution.components.a, axis=1
        )
        rows.append((ended(target, solution).errors / (TOLERANCE * sizes), stopped))
    shares, stops = (np.stack(column) for column in zip(*rows, strict=True))
    return Evidence(shares, 1.0, stops[:, None])


def _components(ends: Ends, share: float = 1.0) -> Evidence:
    return Evidence(ends.errors, share * ends.bounds, np.isfinite(ends.bounds))


def _sum(ends: Ends, share: float = 1.0) -> Evidence:
    return Evidence(ends.error_of_sum, share * ends.bound_of_sum, np.isfinite(ends.bound_of_sum))


CLAIMS = (
    Claim(
        name="certificates.components",
        source="proved in deflation.rounds.bounds",
        statement="The bound of every component holds, with ties, near ties and values that "
        "rounding loses, after any number of rounds; in the median it is a tenth above the error.",
        formula="||b_k a_k^T - s_k u_k v_k^T|| <= Solution.bounds[k], float32",
        kind="upper",
        status="new",
        instances=draw_ends,
        measure=_components,
        control=Control("half of it", functools.partial(_components, share=0.5)),
    ),
    Claim(
        name="certificates.sum",
        source="proved in deflation.rounds.bounds",
        statement="The same of their sum, which stays defined where the components are not.",
        formula="||sum_k b_k a_k^T - M_r|| <= Solution.bound_of_sum, float32",
        kind="upper",
        status="new",
        instances=draw_ends,
        measure=_sum,
        control=Control("half of it", functools.partial(_sum, share=0.5)),
    ),
    Claim(
        name="certificates.stopped",
        source="proved in deflation.rounds.bounds; the rule is deflation.until_proved",
        statement="A run that stops when its bounds are within the tolerance has errors within "
        "it; a run that stops by its moves ends too soon.",
        formula="||b_k a_k^T - s_k u_k v_k^T|| <= tolerance ||b_k a_k^T|| for all k, float32, "
        "tolerance 1e-3",
        kind="upper",
        status="new",
        instances=draw_matrices,
        measure=_stopped,
        control=Control(
            "stopped when no component moves by more than the tolerance",
            functools.partial(_stopped, proved=False),
        ),
    ),
)
