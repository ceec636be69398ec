"""What leading rank-one components of a dense matrix can be computed with, as a user would call it.

Every method is a ladder of settings, cheap to accurate, and a function of (matrix, rank, setting)
that returns a call without arguments; the call returns factors b (r, m), a (r, d) as numpy arrays,
so that its time includes waiting for them.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import deflation


class Method(NamedTuple):
    """`settings` from cheap to accurate; `prepare(matrix, rank, setting)` makes the timed call."""

    settings: tuple
    prepare: Callable


def decomposed(error):
    """`deflation.decompose`, which chooses the method by the size; the setting is its effort."""

    def prepare(matrix, rank, effort):
        problem = deflation.Regression.from_matrix(matrix)
        options = {"error": error, "effort": effort, "certify": False}
        return lambda: _host(deflation.decompose(problem, rank, **options).components)

    return prepare


def parallel(matrix, rank, share):
    """Workers in parallel from a sketch of share rank + 8 directions, one consistent round."""
    problem = deflation.Regression.from_matrix(matrix)
    solver = deflation.alternating(consistent=True)
    start = deflation.Sketch(min(int(share * rank) + 8, *problem.shape))

    return lambda: _factors(problem, rank, solver, 1, init=start)


def full_svd(matrix, rank, setting):
    """All triplets by jnp.linalg.svd."""
    del setting
    target = jnp.asarray(matrix)

    def run():
        u, s, vt = jnp.linalg.svd(target, full_matrices=False)
        return _host(((u[:, :rank] * s[:rank]).T, vt[:rank]))

    return run


def randomized(matrix, rank, iterations):
    """scikit-learn's randomised range finder with so many power iterations."""
    from sklearn.utils.extmath import randomized_svd

    def run():
        u, s, vt = randomized_svd(matrix, rank, n_iter=iterations, random_state=0)
        return (u * s).T, vt

    return run


def iterative(solver):
    """SciPy's svds with a Lanczos method, to a relative tolerance."""

    def prepare(matrix, rank, tolerance):
        from scipy.sparse.linalg import svds

        def run():
            u, s, vt = svds(matrix, rank, tol=tolerance, solver=solver, rng=0)
            order = np.argsort(-s)
            return (u[:, order] * s[order]).T, vt[order]

        return run

    return prepare


def lobpcg(matrix, rank, iterations):
    """JAX's LOBPCG on M^T M; it needs 5 rank < d."""
    from jax.experimental.sparse.linalg import lobpcg_standard

    target = jnp.asarray(matrix)
    first = jax.random.normal(jax.random.key(0), (target.shape[1], rank), target.dtype)

    @jax.jit
    def solve(target, first):
        # Products written out: M^T M itself would cost more than the method.
        _, v, _ = lobpcg_standard(lambda x: target.T @ (target @ x), first, iterations, 0.0)
        return (target @ v).T, v.T

    return lambda: _host(solve(target, first))


def torch_lowrank(matrix, rank, iterations):
    """torch.svd_lowrank with so many subspace iterations."""
    import torch

    tensor, size = torch.from_numpy(matrix), min(rank + 8, *matrix.shape)

    def run():
        torch.manual_seed(0)
        u, s, v = (x.numpy() for x in torch.svd_lowrank(tensor, q=size, niter=iterations))
        return (u[:, :rank] * s[:rank]).T, v[:, :rank].T

    return run


def dask_compressed(matrix, rank, iterations):
    """dask's svd_compressed of four blocks of rows in memory, with so many power iterations."""
    import dask.array

    blocks = dask.array.from_array(matrix, chunks=(-(-matrix.shape[0] // 4), -1))
    # Without the QR between iterations more of them are worse from the fourth on.
    power = {"n_power_iter": iterations, "iterator": "QR", "seed": 0}

    def run():
        factors = dask.array.linalg.svd_compressed(blocks, rank, **power)
        u, s, vt = dask.compute(*factors, scheduler="threads")
        return (u * s).T, vt

    return run


def primme(matrix, rank, tolerance):
    """PRIMME's svds, to a relative tolerance; components that do not converge are zero."""
    from primme import svds

    def run():
        u, s, vt = svds(matrix, rank, tol=tolerance)
        left_out = ((0, rank - len(s)), (0, 0))
        return np.pad((u * s).T, left_out), np.pad(vt, left_out)

    return run


def sequential(matrix, rank, setting):
    """Deflation one component after the other: a solver, and so many rounds of it for each."""
    problem, (solver, rounds) = deflation.Regression.from_matrix(matrix), setting
    total = rank * rounds
    return lambda: _factors(problem, rank, solver, total, method="sequential", budget=total)


def joint(matrix, rank, rounds):
    """Gradient descent on both factors together, at half the largest stable step."""
    problem = deflation.Regression.from_matrix(matrix)
    step = float(0.5 / np.linalg.norm(matrix, 2))
    solver = deflation.gradient_descent(step)
    return lambda: _factors(problem, rank, solver, rounds, method="joint")


def _factors(problem, rank, solver, rounds, **options):
    """A run without bounds on its errors: what the others return has none either."""
    state = deflation.start(problem, rank, solver, **options)
    return _host(deflation.finish(deflation.advance(state, rounds), certify=False).components)


def _host(factors):
    return tuple(np.asarray(rows) for rows in factors)


# By what a question is about: a residual is one of the sum.
OURS = {error: Method(tuple(range(8)), decomposed(error)) for error in ("sum", "components")}
# A small residual takes few products of any kind; single components behind narrow gaps take many
# more of power iteration than of the best direction of a Krylov space.
SEQUENTIAL = (
    *((deflation.alternating(7), rounds) for rounds in (1, 2)),
    *((deflation.krylov(8), rounds) for rounds in (2, 4, 8, 24)),
)
COMPETITORS = {
    "randomized_svd": Method((1, 2, 3, 4, 5, 7, 10, 15, 25, 40), randomized),
    "ARPACK": Method((1e-1, 1e-2, 1e-4, 0), iterative("arpack")),
    "PROPACK": Method((1e-1, 1e-2, 1e-4, 0), iterative("propack")),
    "torch.svd_lowrank": Method((1, 2, 4, 8, 16, 32), torch_lowrank),
    "dask svd_compressed": Method((1, 2, 4, 8, 16, 32), dask_compressed),
    "PRIMME": Method((1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6), primme),
    "LOBPCG": Method((3, 6, 12, 25, 50), lobpcg),
    "parallel": Method((1, 1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 5, 7, 10, 20), parallel),
    "sequential": Method(SEQUENTIAL, sequential),
    "joint": Method((100, 400, 1600), joint),
    "jnp.linalg.svd": Method((None,), full_svd),
}
# Those of `COMPETITORS` that need more than the bench does, and of what; SLEPc has no wheels.
PACKAGES = {"torch.svd_lowrank": "torch", "dask svd_compressed": "dask", "PRIMME": "primme"}


def missing() -> dict[str, str]:
    """Competitors whose package cannot be imported, and its name."""
    return {method: name for method, name in PACKAGES.items() if not _imported(name)}


@functools.cache
def _imported(package: str) -> bool:
    # A package that was built here may be there and not find the libraries that it was linked with.
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True
