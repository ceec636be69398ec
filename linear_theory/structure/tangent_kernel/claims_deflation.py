"""Claims: cascade and self-correction of deflation persist in the linearised adapter model.

Legend: as in `tangent_kernel.deflation`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.random_matrices import generator
from linear_theory.structure.tangent_kernel import deflation as td

OUTPUTS, HIDDEN, INPUTS, SAMPLES, RANK = 3, 4, 5, 8, 3
ROUNDS, STOP = 400, 5


class Workers(NamedTuple):
    """M (n, 3, 24, 4), y (n, 24), an error e (n, 4), eta (n, 3) below 1/||M_k||_2^2."""

    maps: np.ndarray
    target: np.ndarray
    error: np.ndarray
    step_sizes: np.ndarray


def draw_workers(key, trials: int) -> Workers:
    """The maps of tanh networks with Gaussian weights, inputs and a_k.

    Example:
      >>> import jax
      >>> draw_workers(jax.random.key(0), 2).maps.shape
      (2, 3, 24, 4)
    """
    rng = generator(key)
    shapes = ((HIDDEN, INPUTS), (OUTPUTS, HIDDEN), (RANK, INPUTS), (INPUTS, SAMPLES))
    parts = [rng.standard_normal((trials, *shape)) / np.sqrt(shape[-1]) for shape in shapes]
    maps = np.asarray(per_instance(td.component_maps)(*parts))
    largest = np.linalg.norm(maps, 2, axis=(-2, -1)) ** 2
    return Workers(
        maps,
        rng.standard_normal((trials, OUTPUTS * SAMPLES)),
        rng.standard_normal((trials, HIDDEN)),
        rng.uniform(0.3, 0.9, (trials, RANK)) / largest,
    )


def _cascade(workers: Workers, back: int | None = None) -> Evidence:
    exact = td.in_turn(workers.maps, workers.target)
    disturbed = td.in_turn(workers.maps, workers.target, exact[:, 0] + workers.error)
    predicted = td.cascade(workers.maps, workers.error, back)
    gap = np.linalg.norm(disturbed - exact - predicted, axis=(-2, -1))
    # A least-squares solution has a relative error of eps kappa^2 (Golub and Van Loan, section
    # 5.3), the worst over directions, which leaves room for what three workers hand on.
    kappa = np.linalg.cond(workers.maps).max(axis=-1)
    size = sum(np.linalg.norm(b, axis=(-2, -1)) for b in (exact, disturbed, predicted))
    return Evidence(gap, np.finfo(float).eps * kappa**2 * size)


def _correction(workers: Workers, stop: int | None = None) -> Evidence:
    maps, rates = workers.maps, workers.step_sizes
    final = td.in_turn(maps, workers.target)
    path = td.descend_together(maps, workers.target, rates, ROUNDS, stop)
    errors = np.linalg.norm(path - final, axis=-1)[::20]
    bound = td.correction_bound(maps, final, rates, ROUNDS)[::20]
    # Where the bound is below rounding, both are.
    floor = 1e4 * np.finfo(float).eps * np.linalg.cond(maps).max(axis=-1) ** 2
    floor = floor[:, None] * np.linalg.norm(final, axis=(-2, -1))[:, None]
    return Evidence(np.moveaxis(errors, 0, 1), np.moveaxis(bound + floor, 0, 1))


CLAIMS = (
    Claim(
        name="tangent_kernel.cascade",
        source="derived in tangent_deflation",
        statement="In the linearised model an error that the first component keeps moves every "
        "later one by a fixed linear map, whatever the targets; no spectral gap enters.",
        formula="delta_k = -M_k^+ sum_{j<k} M_j delta_j",
        kind="identity",
        status="new",
        instances=draw_workers,
        measure=_cascade,
        control=Control(
            "of the predecessors, the last alone", lambda workers: _cascade(workers, back=1)
        ),
    ),
    Claim(
        name="tangent_kernel.self_correction",
        source="derived in tangent_deflation",
        statement="There parallel descent forgets what predecessors did wrong at first: each "
        "component reaches what it would be after exact predecessors, at the slowest rate among "
        "them.",
        formula="||b_{k,l} - b_k^*|| <= u_{k,l}, u_{l+1} = T u_l, T lower triangular: "
        "T_kk = ||I - eta_k M_k^T M_k||, T_kj = eta_k ||M_k^T M_j||",
        kind="upper",
        status="new",
        instances=draw_workers,
        measure=_correction,
        control=Control(
            "the first component is frozen after five rounds",
            lambda workers: _correction(workers, stop=STOP),
        ),
    ),
)
