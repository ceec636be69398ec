"""The levels of parallel deflation in a small network, and what their kernels at the start predict.

Legend: a network V tanh(W X) with components b_j a_j^T added to W, from b = 0; level k = 1, ..., r
predicts f_k = V tanh((W + sum_{j<=k} b_j a_j^T) X), and descends 1/2 ||f_k - Y||^2 over (b_k, a_k)
alone, all levels at once. theta holds all b and a; u = ||theta - theta_0||; J_kj = df_k/dtheta_j,
which is zero for j > k; rho the residuals f_k - Y of all levels, one below the other.

A step moves rho by -eta J (diag J_kk)^T rho, J between the two ends of the step. So with the kernel
Q = J (diag J_kk)^T, of blocks J_kj J_jj^T, that of the start predicts

    rho_{l+1} = (I - eta Q_0) rho_l,    in blocks: rho_k <- rho_k - eta sum_{j<=k} K_j rho_j

with the kernels K_j of single components, as levels all begin at the same network. The prediction
is off by what the kernel moves: with e_l the difference,

    e_{l+1} = (I - eta Q_0) e_l + eta (Q_0 - Q_l) rho_l,    ||Q_0 - Q_l|| <= kappa u_{l+1} + O(u^2)

where kappa bounds the derivative of Q at the start over all directions of length one. Arrays begin
with the instances n.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

DIFFERENCE = 1e-6  # of the derivative of Q, whose next term is as large relative to it


class Network(NamedTuple):
    """weight W (n, h, d), outer V (n, o, h), rows a (n, r, d), inputs X (n, d, N), targets Y
    (n, o, N)."""

    weight: np.ndarray
    outer: np.ndarray
    rows: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


class Path(NamedTuple):
    """Residuals (T + 1, n, r, o, N) of the levels, and u (T + 1, n)."""

    residuals: np.ndarray
    moved: np.ndarray


def descend(network: Network, step_size: np.ndarray, delays: np.ndarray) -> Path:
    """All levels at once, from b = 0.

    Args:
      step_size: eta (n,).
      delays: how many steps old the component j is that level k sees in step t, (n, T, r, r); its
        own is the last one. Residuals are those of the components as they are.

    Example:
      >>> one = np.ones((1, 1, 1))
      >>> network = Network(0 * one, one, one, one, one)
      >>> path = descend(network, np.array([0.5]), np.zeros((1, 2, 1, 1), int))
      >>> path.residuals.ravel().round(3).tolist()
      [-1.0, -0.538, -0.343]
    """
    a, eta = network.rows, step_size[:, None, None]
    b = np.zeros((*a.shape[:2], network.weight.shape[1]))
    count, longest = a.shape[1], int(delays.max())
    earlier = np.tril(np.ones((count, count)), -1)[:, :, None, None]
    instance, number = np.arange(len(a))[:, None, None], np.arange(count)
    recent, residuals, moved = [], [], []
    for step in range(delays.shape[1] + 1):
        recent = [*recent, b[..., :, None] * a[..., None, :]][-1 - longest :]
        residuals.append(_forward(network, np.cumsum(recent[-1], axis=1))[0])
        moved.append(np.sqrt(np.sum(b**2, (1, 2)) + np.sum((a - network.rows) ** 2, (1, 2))))
        if step < delays.shape[1]:
            at = np.maximum(len(recent) - 1 - delays[:, step], 0)
            seen = np.sum(earlier * np.stack(recent, axis=1)[instance, at, number], axis=2)
            residual, slope = _forward(network, seen + recent[-1])
            pulled = network.outer.mT[:, None] @ residual * slope @ network.inputs.mT[:, None]
            of_b, of_a = (pulled @ a[..., None])[..., 0], (pulled.mT @ b[..., None])[..., 0]
            b, a = b - eta * of_b, a - eta * of_a
    return Path(np.stack(residuals), np.stack(moved))


def _forward(network: Network, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f - Y and tanh' of the network with changes (n, r, h, d) of its weight."""
    hidden = np.tanh((network.weight[:, None] + changes) @ network.inputs[:, None])
    return network.outer[:, None] @ hidden - network.targets[:, None], 1 - hidden**2


def kernel(network: Network, b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Q (n, r o N, r o N) at b (n, r, h) and a (n, r, d).

    Example:
      >>> one = np.ones((1, 1, 1))
      >>> kernel(Network(0 * one, one, one, one, one), 0 * one, 2 * one).tolist()
      [[[4.0]]]
    """
    _, slope = _forward(network, np.cumsum(b[..., :, None] * a[..., None, :], axis=1))
    through = np.einsum("zoh,zkhs->zkosh", network.outer, slope)
    of_b = np.einsum("zkosh,zjs->zkjosh", through, a @ network.inputs)
    of_a = np.einsum("zkosh,zjh,zds->zkjosd", through, b, network.inputs, optimize=True)
    slopes = np.concatenate([of_b, of_a], axis=-1)
    trials, count = b.shape[:2]
    slopes = slopes.reshape(trials, count, count, -1, slopes.shape[-1])
    slopes = slopes * np.tril(np.ones((count, count)))[:, :, None, None]
    own = slopes[:, np.arange(count), np.arange(count)]
    blocks = np.einsum("zkjxp,zjyp->zkxjy", slopes, own, optimize=True)
    return blocks.reshape(trials, count * own.shape[2], -1)


def kernel_slope(network: Network) -> np.ndarray:
    """kappa (n,) = max_v ||dQ[v]||_F / ||v|| at the start."""
    a = network.rows
    b = np.zeros((*a.shape[:2], network.weight.shape[1]))
    start, columns = kernel(network, b, a), []
    for part in (b, a):
        for index in np.ndindex(part.shape[1:]):
            change = np.zeros_like(part)
            change[:, *index] = DIFFERENCE
            moved = (b + change, a) if part is b else (b, a + change)
            columns.append((kernel(network, *moved) - start) / DIFFERENCE)
    columns = np.stack(columns, axis=1)
    return np.linalg.norm(columns.reshape(*columns.shape[:2], -1), 2, axis=(1, 2))
