"""Claims: error curves of all levels of a small network, predicted from its kernels at the start.

Legend: as in `levels`; delta the size of what has to be learned.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator
from linear_theory.structure.tangent_kernel import levels
from linear_theory.structure.tangent_kernel.levels import Network

HIDDEN, INPUTS, NETWORKS = 4, 5, 40
SMALL, LARGE = (1e-3, 0.1), (3.0, 3.0)
STEPS, LONG, DELAY = 24, 120, 4
LATER = 1.1  # of the residual of a level: what a delay of its predecessors may cost


def draw_networks(
    key, trials: int, sizes=SMALL, outputs: int = 2, samples: int = 4, rank: int = 2
) -> Network:
    """Gaussian networks, at most 40; delta in `sizes`, uniform in its logarithm.

    Example:
      >>> import jax
      >>> draw_networks(jax.random.key(0), 2).rows.shape
      (2, 2, 5)
    """
    rng, count = generator(key), min(trials, NETWORKS)

    def gaussian(*shape):
        return rng.standard_normal((count, *shape)) / np.sqrt(shape[-1])

    weight, outer, rows = (
        gaussian(HIDDEN, INPUTS),
        gaussian(outputs, HIDDEN),
        gaussian(rank, INPUTS),
    )
    inputs = rng.standard_normal((count, INPUTS, samples))
    delta = np.exp(rng.uniform(*np.log(sizes), (count, 1, 1)))
    targets = outer @ np.tanh(weight @ inputs) + delta * gaussian(outputs, samples)
    return Network(weight, outer, rows, inputs, targets)


draw_three = functools.partial(draw_networks, outputs=3, samples=6, rank=3)


def _at_start(network: Network) -> np.ndarray:
    b = np.zeros((*network.rows.shape[:2], HIDDEN))
    return levels.kernel(network, b, network.rows)


def _step_size(start: np.ndarray, rank: int) -> np.ndarray:
    """Half of what the largest kernel of a component allows."""
    size = start.shape[1] // rank
    own = [start[:, k : k + size, k : k + size] for k in range(0, start.shape[1], size)]
    return 0.5 / np.max([np.linalg.norm(block, 2, axis=(1, 2)) for block in own], axis=0)


def _no_delays(network: Network, steps: int) -> np.ndarray:
    rank = network.rows.shape[1]
    return np.zeros((len(network.rows), steps, rank, rank), int)


def _deviation(network: Network, follows: bool = True) -> Evidence:
    """Of all levels together after each fourth step, and its bound."""
    start, rank = _at_start(network), network.rows.shape[1]
    eta = _step_size(start, rank)
    path = levels.descend(network, eta, _no_delays(network, STEPS))
    true = path.residuals.reshape(STEPS + 1, len(eta), -1)
    if not follows:
        size = start.shape[1] // rank
        start = start * np.kron(np.eye(rank), np.ones((size, size)))
    step = np.eye(start.shape[1]) - eta[:, None, None] * start
    kappa, predicted = levels.kernel_slope(network), true[0]
    power, grown = np.broadcast_to(np.eye(start.shape[1]), start.shape), []
    source = eta * kappa * path.moved[1:] * np.linalg.norm(true[:-1], axis=-1)
    errors, bounds = [], []
    for number in range(STEPS):
        grown.append(np.linalg.norm(power, 2, axis=(1, 2)))
        power, predicted = power @ step, (step @ predicted[..., None])[..., 0]
        errors.append(np.linalg.norm(true[number + 1] - predicted, axis=1))
        bounds.append(sum(grown[number - i] * source[i] for i in range(number + 1)))
    return Evidence(np.stack(errors[3::4], axis=1), np.stack(bounds[3::4], axis=1))


def _stale(network: Network) -> Evidence:
    """The residual of level k, DELAY (k - 1) steps later, against that without delays."""
    rank, shift = network.rows.shape[1], DELAY * np.arange(network.rows.shape[1])
    eta = _step_size(_at_start(network), rank)
    delays = DELAY + _no_delays(network, LONG + shift[-1])
    fresh, stale = (
        np.linalg.norm(levels.descend(network, eta, late).residuals, axis=(-2, -1))
        for late in (delays[:, :LONG] - DELAY, delays)
    )
    later = np.stack([stale[k : k + LONG + 1, :, n] for n, k in enumerate(shift)], axis=-1)
    return Evidence(np.moveaxis(later, 0, 1), LATER * np.moveaxis(fresh, 0, 1))


CLAIMS = (
    Claim(
        name="tangent_kernel.levels",
        source="derived in tangent_kernel.levels; arXiv 2605.10741 leaves nonlinear networks open",
        statement="Parallel levels of a network follow the prediction from their kernels at the "
        "start, up to the size of the update times the derivative of the kernel there.",
        formula="||e_L|| <= eta sum_l ||(I - eta Q_0)^{L-1-l}|| kappa u_{l+1} ||rho_l||",
        kind="upper",
        status="new",
        instances=draw_networks,
        measure=_deviation,
        control=Control(
            "each level by its own kernel alone, as if its predecessors stood still",
            functools.partial(_deviation, follows=False),
            functools.partial(draw_networks, sizes=(SMALL[0], SMALL[0])),
        ),
    ),
    Claim(
        name="tangent_kernel.stale_levels",
        source="observed; arXiv 2605.10741 leaves late messages open",
        statement="Levels of a network whose predecessors are four steps old, where little has to "
        "be learned: four steps later per predecessor, level k is as far as without delays, within "
        "a tenth.",
        formula="||rho_k(l + tau (k - 1))|| with delays tau <= 1.1 ||rho_k(l)|| without",
        kind="upper",
        status="new",
        instances=draw_three,
        measure=_stale,
        control=Control(
            "where the change is three times the outputs",
            _stale,
            functools.partial(draw_three, sizes=LARGE),
        ),
    ),
)
