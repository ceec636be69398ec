"""Time to an error: `deflation.decompose` beside what a user would pick, on the same matrix.

Two questions: seconds to a residual within 1e-3 and 1e-6 (relative) of the best one, and seconds
until every single component is within 1e-3. Each method climbs its ladder of settings until it is
accurate enough; the settings found are then timed in turn. Who does not arrive gets no time.
"""

from __future__ import annotations

import functools
import importlib.metadata
import statistics
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import jax
import numpy as np
import scipy
import sklearn

from deflation.direct.choice import choose
from launch.bench.decompose_inputs import real
from launch.bench.decompose_methods import COMPETITORS, OURS, PACKAGES, Method, missing
from launch.bench.rows import record
from launch.bench.timing import alternating, seconds
from launch.shell import waiting

QUESTIONS = {"residual 1e-3": (0, 1e-3), "residual 1e-6": (0, 1e-6), "components 1e-3": (1, 1e-3)}
SPECTRA = ("power law", "exponential", "plateau", "noisy")
SIDES = ((512, 512), (1024, 1024), (2048, 2048), (4096, 4096), (4096, 512), (512, 4096))
# (m, d, rank) of every spectrum, and the seconds of a call after which a method climbs no further.
SIZES = {
    "quick": ([(192, 192, 8), (512, 512, 8), (512, 512, 64), (1024, 1024, 64)], 2.0),
    "full": ([(m, d, r) for m, d in SIDES for r in (8, 64, 256) if 2 * r <= min(m, d)], 20.0),
}

ERRORS = "sum", "components"  # of `QUESTIONS`, as `deflation.decompose` calls them
TRIES = 3  # warm calls of every setting for a picture; those of the rows are timed again


class Case(NamedTuple):
    """A matrix, its leading triplets in double precision, the norm of the rest, and the spectrum
    that it was made with, None of a real one."""

    name: str
    matrix: np.ndarray
    rank: int
    left: np.ndarray
    sizes: np.ndarray
    right: np.ndarray
    rest: float
    spectrum: str | None = None


class Input(NamedTuple):
    """What a case is made of when it is called: its spectrum is known before."""

    spectrum: str | None
    case: Callable[[], Case]


class Point(NamedTuple):
    """One setting of one method: its call, errors (residual, components) and median seconds."""

    call: object
    errors: tuple[float, float]
    seconds: float


def cases(size: str, data_dir: str | None = None, model: str | None = None) -> dict[str, Input]:
    """By name, every spectrum in every shape of a size, then the real matrices; nothing is computed
    before it is asked for.

    Args:
      size: a name of `SIZES`.
      data_dir, model: folders with real matrices, see `decompose_inputs.real`.
    """
    inputs = {}
    for m, d, rank in SIZES[size][0]:
        for spectrum in SPECTRA:
            name = f"{spectrum} {m} x {d}, r = {rank}"
            make = functools.partial(_made, name, spectrum, m, d, rank)
            inputs[name] = Input(spectrum, make)
    for name, matrix in real(data_dir, model):
        m, d = matrix.shape
        rank = min(64, min(m, d) // 4)
        name = f"{name} {m} x {d}, r = {rank}"
        inputs[name] = Input(None, functools.partial(case, name, matrix, rank))
    return inputs


def _made(name: str, spectrum: str, m: int, d: int, rank: int) -> Case:
    return case(name, spectral(spectrum, m, d, rank), rank)._replace(spectrum=spectrum)


def spectral(spectrum: str, m: int, d: int, rank: int) -> np.ndarray:
    """A float32 matrix with random singular vectors."""
    g, n = np.random.default_rng(0), min(m, d)
    k = np.arange(1, n + 1)
    sizes = {
        "power law": 1 / k,
        "exponential": 0.001 ** (k / max(rank, 8)),  # 1e-3 at the last component asked for
        "plateau": np.where(k <= rank, 1 - 1e-3 * k, 0.5 / np.sqrt(np.maximum(k - rank, 1))),
        "noisy": np.where(k <= rank, 4 * 0.25 ** (k / rank), 0),
    }[spectrum]
    left, right = (np.linalg.qr(g.normal(size=(rows, n)))[0] for rows in (m, d))
    noise = g.normal(size=(m, d)) / (m**0.5 + d**0.5) if spectrum == "noisy" else 0
    return ((left * sizes) @ right.T + noise).astype(np.float32)


def case(name: str, matrix: np.ndarray, rank: int) -> Case:
    """A case of any matrix, such as real data."""
    u, s, vt = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return Case(name, matrix, rank, u[:, :rank].T, s[:rank], vt[:rank], np.linalg.norm(s[rank:]))


def errors(case: Case, b: np.ndarray, a: np.ndarray) -> tuple[float, float]:
    """(excess of the residual, largest error G_k of a component), both relative."""
    b, a = b.astype(np.float64), a.astype(np.float64)
    residual = np.linalg.norm(case.matrix - b.T @ a)
    overlap = np.sum(b * case.left, axis=1) * np.sum(a * case.right, axis=1)
    size = np.linalg.norm(b, axis=1) * np.linalg.norm(a, axis=1)
    square = size**2 + case.sizes**2 - 2 * case.sizes * overlap
    relative = np.sqrt(np.maximum(square, 0)) / case.sizes
    return residual / case.rest - 1, float(np.max(relative))


def climb(method: Method, case: Case, limit: float, tries: int = TRIES) -> list[Point]:
    """Measures the settings of a method, each so many times, until all questions are answered or a
    call is too slow."""
    points = []
    for setting in method.settings:
        call = method.prepare(case.matrix, case.rank, setting)
        reached = errors(case, *call())  # compiles
        points.append(Point(call, reached, statistics.median(seconds(call) for _ in range(tries))))
        enough = all(reached[which] <= target for which, target in QUESTIONS.values())
        if enough or points[-1].seconds > limit:
            break
    return points


def usable(name: str, case: Case) -> bool:
    """Whether its package is installed; LOBPCG refuses blocks of a fifth of the matrix."""
    if name in missing():
        return False
    return name != "LOBPCG" or 5 * case.rank < case.matrix.shape[1]


def run(
    chosen: dict[str, Input],
    limit: float,
    repeats: int,
    names: Collection[str] | None = None,
    tries: int = TRIES,
) -> Iterator[tuple]:
    """Of every case its name, its rows, and every point measured, by method.

    Args:
      chosen: as `cases` returns them.
      limit: seconds of a call after which a method climbs no further.
      repeats: calls of each setting that are timed for the rows.
      names: of the competitors, all of them when None.
      tries: calls of every setting of every method.
    """
    competitors = {n: m for n, m in COMPETITORS.items() if names is None or n in names}
    for name, entry in waiting.progress(chosen.items(), len(chosen), "cases"):
        case = entry.case()
        climbed = {own(error): climb(method, case, limit, tries) for error, method in OURS.items()}
        usual = {n: m for n, m in competitors.items() if usable(n, case)}
        climbed |= {n: climb(method, case, limit, tries) for n, method in usual.items()}
        yield name, rows(case, climbed, repeats), climbed


def rows(case: Case, climbed: dict[str, list[Point]], repeats: int) -> list[dict]:
    """A row per question and competitor; a setting that answers several questions is timed once."""
    first = {
        (question, method): _first(points, which, target)
        for question, (which, target) in QUESTIONS.items()
        for method, points in climbed.items()
    }
    calls = list({id(point.call): point.call for point in first.values() if point}.values())
    medians = alternating(calls, repeats) if calls else []
    taken = dict(zip(map(id, calls), medians, strict=True))

    def seconds_of(point: Point | None) -> float | None:
        return taken[id(point.call)] if point else None

    result = []
    m, d = case.matrix.shape
    for question, (which, _) in QUESTIONS.items():
        ours = own(ERRORS[which])
        for method in (name for name in climbed if name not in map(own, OURS)):
            pair = [(first[question, name], climbed[name]) for name in (ours, method)]
            result.append(
                record(
                    "decompose",
                    f"{case.name}, {question}",
                    (f"decompose, {choose((m, d), case.rank, ERRORS[which]).name}", method),
                    tuple(seconds_of(point) for point, _ in pair),
                    tuple(_error(point, points, which) for point, points in pair),
                    matrix=case.name,
                    spectrum=case.spectrum,
                    question=question,
                    entries=m * d,
                    rank=case.rank,
                )
            )
    return result


def versions() -> str:
    """Of everything that is timed."""
    named = {"jax": jax, "numpy": np, "scipy": scipy, "scikit-learn": sklearn}
    known = [f"{name} {module.__version__}" for name, module in named.items()]
    absent = missing()
    present = sorted(set(PACKAGES.values()) - set(absent.values()))
    known += [f"{package} {importlib.metadata.version(package)}" for package in present]
    known += [f"no {name}, as {package} is not installed" for name, package in absent.items()]
    return ", ".join(known)


def own(error: str) -> str:
    """The name of our method for that error, among the competitors'."""
    return f"decompose, {error}"


def _first(points: list[Point], which: int, target: float) -> Point | None:
    """The cheapest setting that is accurate enough, by the order of the ladder: a single time of
    each would choose by accident."""
    return next((point for point in points if point.errors[which] <= target), None)


def _error(point: Point | None, points: list[Point], which: int) -> float:
    return point.errors[which] if point else min(p.errors[which] for p in points)
