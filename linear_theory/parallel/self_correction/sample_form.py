"""Parallel deflation written out in samples: the reference that the reduced form must reproduce.

Legend: X (d, n) inputs, Y (m, n) targets; worker k = 1, ..., r holds b_k (m,), a_k (d,) in original
coordinates. Everything has a leading axis trials and is plain numpy. Nothing here is used to solve
anything: the cost of a round grows with n, and there is a loop over workers and predecessors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Step = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def alternating_step(x, target, b, a) -> tuple[np.ndarray, np.ndarray]:
    """b <- argmin_b, a <- argmin_a, b <- argmin_b of ||Y_k - b a^T X||, each a least squares.

    Takes X (., d, n), Y_k (., m, n), b (., m) and a (., d); returns b and a. The first b is not
    needed.

    Source: arXiv 2505.22602, algorithm 1 with alternating least squares as its rank-one solver.
    """
    del b
    b = _left(x, target, a)
    image = np.einsum("tmn,tm->tn", target, b)
    gram = x @ np.swapaxes(x, 1, 2)
    a = np.linalg.solve(gram, np.einsum("tdn,tn->td", x, image)[..., None])[..., 0]
    a = a / np.sum(b * b, axis=1, keepdims=True)
    return _left(x, target, a), a


def descent_step(step_size: np.ndarray) -> Step:
    """One step of gradient descent on 1/2 ||Y_k - b a^T X||^2 in both factors at once.

    Takes step sizes (trials, 1). Source: arXiv 2505.22602, equation (5).
    """

    def step(x, target, b, a):
        inputs = np.einsum("tdn,td->tn", x, a)
        residual = target - b[:, :, None] * inputs[:, None]
        down_b = np.einsum("tmn,tn->tm", residual, inputs)
        down_a = np.einsum("tdn,tmn,tm->td", x, residual, b, optimize=True)
        return b + step_size * down_b, a + step_size * down_a

    return step


def parallel(x, y, b, a, step: Step, rounds: int, jacobi: bool = True):
    """Algorithm 1: in round l worker k steps on Y minus what its predecessors had published after
    round l - 1, and publishes from round k on; until then it refines in private.

    Args:
      x: (trials, d, n). y: (trials, m, n).
      b, a: first factors (trials, r, m) and (trials, r, d).
      step: what a worker does in a round.
      rounds: number of rounds.
      jacobi: False lets a worker see what its predecessors found in the same round.

    Returns:
      b, a after the last round.

    Source: arXiv 2502.17615, algorithm 1; arXiv 2605.10741.

    Example:
      >>> x, y = np.eye(2)[None], np.diag([2.0, 1.0])[None]
      >>> first = np.zeros((1, 1, 2)), np.ones((1, 1, 2))
      >>> b, a = parallel(x, y, *first, alternating_step, rounds=40)
      >>> (b[0].T @ a[0]).round(3).tolist()
      [[2.0, 0.0], [0.0, 0.0]]
    """
    b, a = np.array(b), np.array(a)
    workers = b.shape[1]
    for finished in range(rounds):
        old_b, old_a = (b.copy(), a.copy()) if jacobi else (b, a)
        for k in range(workers):
            target = y.copy()
            for j in range(min(k, finished)):
                target -= old_b[:, j, :, None] * (old_a[:, j, None] @ x)
            b[:, k], a[:, k] = step(x, target, b[:, k], a[:, k])
    return b, a


def _left(x, target, a) -> np.ndarray:
    inputs = np.einsum("tdn,td->tn", x, a)
    return np.einsum("tmn,tn->tm", target, inputs) / np.sum(inputs**2, axis=1, keepdims=True)
