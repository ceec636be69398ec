"""Claims: the stable rank of gradients falls to that of their slowest part.

Legend: as in `gradient_rank`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from deflation.problem.spectrum import stable_rank
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm
from linear_theory.structure.gradient_projection import gradient_rank as rank

SIZE, TERMS = 4, 3
STEPS = np.array([0, 1, 3, 10, 30, 100])
# Spectral norms of path and bound are computed on different ways, from numbers that have shrunk by
# (1 - eta lambda_1)^t at the same rate as their rounding.
ROOM = 1e-9


class Linear(NamedTuple):
    """G_0 (n, 4, 4), B and C (n, N, 4, 4), eta (n,), and the parts of G_0.

    Attributes:
      kept: G^p. rest: ||G^o||. ratio: q.
    """

    gradient: np.ndarray
    left: np.ndarray
    right: np.ndarray
    step: np.ndarray
    kept: np.ndarray
    rest: np.ndarray
    ratio: np.ndarray


def draw_linear(key, trials: int, terms: int = 1, adverse: bool = False) -> Linear:
    """Gaussian gradients under sums of products of Wishart matrices.

    Args:
      key: a typed JAX key. trials: number of instances. terms: N.
      adverse: choose G^o to reduce the top singular value of G^p.

    Example:
      >>> import jax
      >>> draw_linear(jax.random.key(0), 2).left.shape
      (2, 1, 4, 4)
    """
    rng = generator(key)
    left, right = (_wishart(rng, trials, terms) for _ in range(2))
    # Row-major vec: vec(B G C) = (B kron C) vec(G), C symmetric.
    operator = np.einsum("tnij,tnkl->tikjl", left, right).reshape(trials, SIZE**2, SIZE**2)
    eigenvalues, vectors = np.linalg.eigh(operator)
    slow = vectors[:, :, 0].reshape(trials, SIZE, SIZE)
    gradient = rng.standard_normal((trials, SIZE, SIZE))
    if adverse:
        u, _, v = np.linalg.svd(slow)
        pair = u[:, :, :1] @ v[:, :1]
        pair = pair - np.sum(pair * slow, axis=(1, 2), keepdims=True) * slow
        gradient = slow - 0.3 * pair
    kept = np.sum(gradient * slow, axis=(1, 2), keepdims=True) * slow
    step = rng.uniform(0.2, 1, trials) / eigenvalues[:, -1]
    ratio = (1 - step * eigenvalues[:, 1]) / (1 - step * eigenvalues[:, 0])
    return Linear(gradient, left, right, step, kept, norm(gradient - kept), ratio)


def _wishart(rng, trials: int, terms: int) -> np.ndarray:
    root = rng.standard_normal((trials, terms, SIZE, 2 * SIZE)) / np.sqrt(2 * SIZE)
    return root @ root.mT


def _against(problem: Linear, bound=rank.stable_rank_bound, tail: bool = True) -> Evidence:
    path = rank.linear_gradients(*problem[:4], steps=int(STEPS[-1]))
    values = np.linalg.svd(np.asarray(path)[STEPS], compute_uv=False)
    measured = np.asarray(stable_rank(values)).T
    kept = np.linalg.svd(problem.kept, compute_uv=False)[:, None]
    side = bound(kept, tail * problem.rest[:, None], problem.ratio[:, None], STEPS)
    return Evidence(measured, np.asarray(side) * (1 + ROOM))


draw_sums = functools.partial(draw_linear, terms=TERMS)
draw_adverse = functools.partial(draw_linear, terms=TERMS, adverse=True)

CLAIMS = (
    Claim(
        name="gradient_projection.stable_rank",
        source="arXiv 2403.03507, lemma 3.3",
        statement="The stable rank of the gradient falls to that of its slowest part, for one "
        "product B G C.",
        formula="sr(G_t) <= sr(G^p) + q^{2t} ||G^o||^2 / ||G^p||_2^2",
        kind="upper",
        status="with a condition",
        instances=draw_linear,
        measure=_against,
        control=Control("as printed, for sums of products", _against, draw_adverse),
    ),
    Claim(
        name="gradient_projection.stable_rank_any",
        source="proved in gradient_rank.stable_rank_bound_any",
        statement="For sums of products the rest may take from the top singular value.",
        formula="sr(G_t) <= (||G^p||^2 + q^{2t} ||G^o||^2) / (||G^p||_2 - q^t ||G^o||)^2",
        kind="upper",
        status="corrected",
        instances=draw_sums,
        measure=functools.partial(_against, bound=rank.stable_rank_bound_any),
        control=Control("the slowest part alone, sr(G^p)", functools.partial(_against, tail=False)),
    ),
)
