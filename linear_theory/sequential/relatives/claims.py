"""Claims: what EigenGame, rank-one completion and joint descent have in common with deflation.

Legend: A (d, d) positive definite with eigenpairs (l_i, v_i); w_j what player j holds. For
completion M (m, n) with the entries of a mask observed, R_k = mask * (M - sum_j c_j u_j v_j^T)
after k steps: u_k, v_k the leading singular pair of R_{k-1}, all c chosen anew by least squares.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import (
    falling,
    generator,
    norm,
    orthogonal,
    unit_rows,
    with_values,
)

SIZE, PLAYERS = 6, 3
ROWS, COLUMNS, RANK, STEPS = 6, 8, 2, 5
DESCENT, STEP, NEAR = 600, 0.3, 1e-3
EPS = np.finfo(np.float64).eps


class Game(NamedTuple):
    """matrix A (n, 6, 6), values (n, 6), vectors in rows (n, 6, 6), strategies w (n, 3, 6)."""

    matrix: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    strategies: np.ndarray


def draw_games(key, trials: int) -> Game:
    """Ratios of eigenvalues from .4 to .9; strategies are unit vectors, far from eigenvectors.

    Example:
      >>> import jax
      >>> draw_games(jax.random.key(0), 2).strategies.shape
      (2, 3, 6)
    """
    rng = generator(key)
    values = falling(rng.uniform(0.4, 0.9, (trials, SIZE - 1)))
    vectors = orthogonal(rng, trials, SIZE, SIZE)
    strategies = unit_rows(rng.standard_normal((trials, PLAYERS, SIZE)))
    return Game(vectors.mT * values[:, None] @ vectors, values, vectors, strategies)


def _pull(game: Game, parents: np.ndarray) -> np.ndarray:
    """Half the slope of the last player's utility w^T A w - sum_j (w^T A w_j)^2 / (w_j^T A w_j)."""
    own = game.strategies[:, -1:]
    images = parents @ game.matrix
    sizes = np.sum(images * parents, axis=2, keepdims=True)
    return own @ game.matrix - own @ images.mT @ (images / sizes)


def _utility(game: Game, exact: bool = True) -> Evidence:
    """Against the slope of w^T A_3 w, A_3 what deflation leaves after exact components."""
    parents = game.vectors[:, : PLAYERS - 1] if exact else game.strategies[:, :-1]
    rest = np.where(np.arange(SIZE) < PLAYERS - 1, 0, game.values)
    deflated = game.vectors.mT * rest[:, None] @ game.vectors
    error = norm(_pull(game, parents) - game.strategies[:, -1:] @ deflated)
    return Evidence(error, 100 * EPS)


def _rank(game: Game, hotelling: bool = False) -> Evidence:
    """What the last player sees behind parents that are far from eigenvectors."""
    parents = game.strategies[:, :-1]
    images = parents @ game.matrix
    if hotelling:
        sizes = np.sum(images * parents, axis=2)[:, None]
        rest = game.matrix - parents.mT * sizes @ parents
    else:
        rest = game.matrix - images.mT @ np.linalg.solve(images @ parents.mT, images)
    values = np.linalg.svd(rest, compute_uv=False)
    return Evidence(values[:, SIZE - PLAYERS + 1], 100 * EPS)


class Observed(NamedTuple):
    """matrix M (n, 6, 8) of rank 2, mask (n, 6, 8) of zeros and ones."""

    matrix: np.ndarray
    mask: np.ndarray


def draw_observed(key, trials: int, least: float = 0.5, most: float = 0.95) -> Observed:
    """Each entry with a chance between the two.

    Example:
      >>> import jax
      >>> draw_observed(jax.random.key(0), 2).mask.shape
      (2, 6, 8)
    """
    rng = generator(key)
    factors = (
        rng.standard_normal((trials, ROWS, RANK)),
        rng.standard_normal((trials, RANK, COLUMNS)),
    )
    chance = rng.uniform(least, most, (trials, 1, 1))
    return Observed(factors[0] @ factors[1], (rng.random((trials, ROWS, COLUMNS)) < chance) * 1.0)


def draw_all(key, trials: int) -> Observed:
    """Every entry.

    Example:
      >>> import jax
      >>> float(draw_all(jax.random.key(0), 2).mask.min())
      1.0
    """
    drawn = draw_observed(key, trials)
    return drawn._replace(mask=np.ones_like(drawn.mask))


def _pursue(problem: Observed) -> np.ndarray:
    """||R_k|| for k = 0, ..., STEPS, (n, STEPS + 1)."""
    target = problem.mask * problem.matrix
    rest, bases, sizes = target, [], [norm(target)]
    for _ in range(STEPS):
        left, _, right = np.linalg.svd(rest, full_matrices=False)
        bases.append(problem.mask * (left[:, :, :1] * right[:, :1]))
        columns = np.stack([base.reshape(len(target), -1) for base in bases], axis=2)
        fitted = columns @ np.linalg.pinv(columns) @ target.reshape(len(target), -1, 1)
        rest = target - fitted.reshape(target.shape)
        sizes.append(norm(rest))
    return np.stack(sizes, axis=1)


def _contraction(problem: Observed, directions: int = min(ROWS, COLUMNS)) -> Evidence:
    sizes = _pursue(problem)
    bound = np.sqrt(1 - 1 / directions) * sizes[:, :-1]
    return Evidence(sizes[:, 1:], bound, sizes[:, :-1] > 1e-9)


def _finite(problem: Observed) -> Evidence:
    """What is left after as many steps as M has rank."""
    sizes = _pursue(problem)
    return Evidence(sizes[:, RANK], 100 * EPS * sizes[:, 0])


def draw_joint(key, trials: int) -> np.ndarray:
    """M (n, 6, 8) with values 1, .3 to .6 of it, and so on.

    Example:
      >>> import jax
      >>> draw_joint(jax.random.key(0), 2).shape
      (2, 6, 8)
    """
    rng = generator(key)
    values = falling(rng.uniform(0.3, 0.6, (trials, ROWS - 1)))
    return with_values(rng, values, ROWS, COLUMNS)


def _joint(target: np.ndarray, of_sum: bool = True) -> Evidence:
    """Descent on 1/2 ||M - B A||^2 from Gaussian factors, the same for every M."""
    rng = np.random.default_rng(0)
    b, a = rng.standard_normal((ROWS, RANK)) / 4, rng.standard_normal((RANK, COLUMNS)) / 4
    b, a = (np.broadcast_to(factor, (len(target), *factor.shape)) for factor in (b, a))
    for _ in range(DESCENT):
        rest = target - b @ a
        b, a = b + STEP * rest @ a.mT, a + STEP * b.mT @ rest
    left, values, right = np.linalg.svd(target, full_matrices=False)
    best = [left[:, :, k, None] * values[:, k, None, None] * right[:, None, k] for k in range(RANK)]
    own = [b[:, :, k, None] * a[:, None, k] for k in range(RANK)]
    if of_sum:
        return Evidence(norm(sum(own) - sum(best)), NEAR)
    pairs = [[0, 1], [1, 0]]
    errors = [sum(norm(own[k] - best[i]) for k, i in enumerate(order)) for order in pairs]
    return Evidence(np.minimum(*errors), NEAR)


CLAIMS = (
    Claim(
        name="relatives.eigengame",
        source="EigenGame (Gemp et al. 2021), named in arXiv 2505.22602, related work",
        statement="Behind exact parents a player climbs the deflated matrix.",
        formula="A w - sum_j (w^T A v_j)/(v_j^T A v_j) A v_j = (A - sum_j l_j v_j v_j^T) w",
        kind="identity",
        status="new",
        instances=draw_games,
        measure=_utility,
        control=Control("parents that are no eigenvectors", lambda g: _utility(g, exact=False)),
    ),
    Claim(
        name="relatives.eigengame_rank",
        source="Wedderburn 1934; EigenGame (Gemp et al. 2021), named in arXiv 2505.22602",
        statement="Behind parents that are conjugate to each other, eigenvectors or not, a player "
        "sees Wedderburn's reduction, of a rank that is lower by one for each.",
        formula="rank(A - A W (W^T A W)^-1 W^T A) = d - j for any W (d, j) of full rank",
        kind="identity",
        status="new",
        instances=draw_games,
        measure=_rank,
        control=Control(
            "Hotelling's deflation, A - sum_j (w_j^T A w_j) w_j w_j^T",
            functools.partial(_rank, hotelling=True),
        ),
    ),
    Claim(
        name="relatives.completion",
        source="Wang et al. 2014 (rank-one matrix pursuit); arXiv 2505.22602, related work",
        statement="Rank-one steps on the observed entries, all weights chosen anew: what is left "
        "of them falls at a linear rate, whatever the mask.",
        formula="||R_{k+1}|| <= sqrt(1 - 1/min(m, n)) ||R_k||",
        kind="upper",
        status="new",
        instances=draw_observed,
        measure=_contraction,
        control=Control(
            "1/r for a matrix of rank r, of which less than half is observed",
            lambda problem: _contraction(problem, RANK),
            functools.partial(draw_observed, least=0.3, most=0.45),
        ),
    ),
    Claim(
        name="relatives.completion_of_all",
        source="Eckart and Young 1936; arXiv 2505.22602, related work",
        statement="With all entries observed it is deflation, which ends after r steps.",
        formula="R_r = 0 for a matrix of rank r",
        kind="identity",
        status="new",
        instances=draw_all,
        measure=_finite,
        control=Control("entries missing", _finite, draw_observed),
    ),
    Claim(
        name="relatives.joint",
        source="arXiv 2605.10741, section II: joint decomposition loses the single components",
        statement="Descent on all factors at once comes to the best sum of rank r and not to its "
        "components, which only deflation tells apart.",
        formula="||B A - M_(r)|| -> 0",
        kind="upper",
        status="as printed",
        instances=draw_joint,
        measure=_joint,
        control=Control("single components, in either order", lambda m: _joint(m, of_sum=False)),
    ),
)
