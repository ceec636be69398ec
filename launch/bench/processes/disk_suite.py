"""A matrix in a file, taken apart by two processes that read it in pieces, beside dask.

M = U S V^T of a power law s_k = 1 / k, with U and V of cosines and signs, so that it is written in
pieces and its best residual is known. Every method climbs its ladder of settings, each in fresh
processes of one BLAS thread, until its residual is within 1e-3 (relative) of the best:

    seconds    wall, from the file to factors in memory: of the first call with all that is compiled
               in it, and the median of later ones, which read the file again
    processor_ours, processor_competitor
               seconds of processors of a later call, of all processes together but for those that
               dask has started
    bytes_ours, bytes_competitor
               the most memory of a process (its share of M is bytes_matrix / 2) in the first call

The competitor is `svd_compressed` on chunks of rows, by two threads, and by two processes where
dask.distributed is installed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np
import scipy.fft

from launch.bench.rows import bounded, record
from launch.shell import distributed, waiting

ROOT = pathlib.Path(__file__).parents[3]
TARGET = 1e-3
PROCESSES = 2
TIMEOUT = 600  # seconds of a process
PIECE = 500  # rows that are in memory at once, where they are written and compared


class Size(NamedTuple):
    """An (m, d) matrix, the rank, and later calls."""

    m: int
    d: int
    rank: int
    repeats: int


SIZES = {"quick": Size(4000, 1000, 32, 5), "full": Size(20_000, 4000, 32, 3)}
# Ours: size and width of the sketch. dask: power iterations.
OURS, DASK = ((72, 18), (80, 16), (112, 16), (160, 16)), (1, 2, 3, 4, 6, 8)
BY_THREADS, BY_PROCESSES = "dask, threads", "dask, processes"
LADDERS = {"ours": OURS, BY_THREADS: DASK, BY_PROCESSES: DASK}
PACKAGES = {BY_THREADS: "dask", BY_PROCESSES: "distributed"}


class Outcome(NamedTuple):
    """What all processes of a setting measured together; by how much its residual is larger."""

    first: float
    later: float
    processor: float
    peak: int
    error: float
    setting: object
    compiling: float


def run(size: Size) -> tuple[list[dict[str, Any]], str]:
    """The rows, and a note; the file is in a temporary folder.

    Raises:
      RuntimeError: a process failed or took longer than `TIMEOUT`.
    """
    names = [n for n in LADDERS if n not in PACKAGES or importlib.util.find_spec(PACKAGES[n])]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "matrix.npy"
        with waiting.stage("writing the matrix"):
            sizes = write(path, size.m, size.d)
        best = float(np.linalg.norm(sizes[size.rank :]))
        outcomes, ladders = {}, dict(LADDERS)
        for name in waiting.progress(names, len(names), "methods"):
            outcomes[name] = climbed(name, ladders[name], path, size, best)
            if name == BY_THREADS:  # by processes dask computes the same
                ladders[BY_PROCESSES] = (outcomes[name].setting,)
    case = f"{size.m} x {size.d} from disk, r = {size.rank}, residual {TARGET:.0e}"
    kinds = ("first call", "later calls")
    rows = [
        _row(f"{case}, {kind}", name, outcomes["ours"], outcome, 4 * size.m * size.d, k)
        for name, outcome in outcomes.items()
        if name != "ours"
        for k, kind in enumerate(kinds)
    ]
    return rows, f"{PROCESSES} processes; {_versions()}"


def _row(case: str, name: str, ours: Outcome, other: Outcome, held: int, which: int) -> dict:
    arrived = [outcome.error <= TARGET for outcome in (ours, other)]
    seconds = [o[which] if there else None for o, there in zip((ours, other), arrived, strict=True)]
    more = {} if which else bounded("XLA compiling", ours.compiling)
    return record(
        "disk",
        case,
        ("rows over processes", f"svd_compressed of {name}"),
        tuple(seconds),
        (ours.error, other.error),
        processor_ours=ours.processor,
        processor_competitor=other.processor,
        bytes_ours=ours.peak,
        bytes_competitor=other.peak,
        bytes_matrix=held,
        **more,
    )


def climbed(name: str, ladder: tuple, path: pathlib.Path, size: Size, best: float) -> Outcome:
    """The first setting of a method that is accurate enough, or the last one."""
    for setting in ladder:
        factors = path.with_name("factors.npz")
        payload = {"way": name, "path": str(path), "rank": size.rank, "setting": setting}
        payload |= {"repeats": size.repeats, "factors": str(factors), "workers": PROCESSES}
        told = _measured(payload, PROCESSES if name == "ours" else 1)
        with np.load(factors) as file:
            error = residual(path, file["b"], file["a"]) / best - 1
        slowest = [max(one[key] for one in told) for key in ("first", "later", "peak")]
        processor = sum(one["processor"] for one in told)
        compiled = max(one.get("compiling", 0.0) for one in told)
        outcome = Outcome(*slowest[:2], processor, slowest[2], error, setting, compiled)
        if error <= TARGET:
            break
    return outcome


def write(path: pathlib.Path, m: int, d: int) -> np.ndarray:
    """Writes M (m, d), m >= d, in float32; its singular values (d,).

    U has the first d cosines of m points, V those of d points behind random signs.
    """
    sizes = 1 / np.arange(1, d + 1)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), d)
    scale = np.sqrt(np.where(np.arange(d), 2, 1) / m) * sizes * signs
    matrix = np.lib.format.open_memmap(path, "w+", np.float32, (m, d))
    for start in range(0, m, PIECE):
        points = np.arange(start, min(start + PIECE, m))[:, None] + 0.5
        left = np.cos(np.pi / m * points * np.arange(d)) * scale
        matrix[start : start + PIECE] = scipy.fft.idct(left, axis=1, norm="ortho")
    matrix.flush()
    return sizes


def residual(path: pathlib.Path, b: np.ndarray, a: np.ndarray) -> float:
    """||M - sum_k b_k a_k^T||_F of the matrix in a file, from the difference itself."""
    matrix, total = np.load(path, mmap_mode="r"), 0.0
    for start in range(0, len(matrix), PIECE):
        rest = matrix[start : start + PIECE] - b[:, start : start + PIECE].T @ a
        total += float(np.sum(np.square(rest, dtype=np.float64)))
    return total**0.5


def _measured(payload: dict, processes: int) -> list[dict]:
    """What every process of a run tells."""
    payload |= {"processes": processes, "address": f"localhost:{distributed.free_port()}"}
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command, pipe = [sys.executable, "-m", "launch.bench.processes.disk_worker"], subprocess.PIPE
    with contextlib.ExitStack() as stack:
        running = []
        for number in range(processes):
            argument = json.dumps(payload | {"number": number})
            process = subprocess.Popen(
                [*command, argument], env=environment, stdout=pipe, stderr=pipe, text=True
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            running.append(process)
        try:
            outputs = [process.communicate(timeout=TIMEOUT) for process in running]
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"a process of {payload['way']} took over {TIMEOUT} s") from None
    for process, (_, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            last = (errors.strip().splitlines() or ["nothing on stderr"])[-1]
            raise RuntimeError(f"a process of {payload['way']} failed: {last}")
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def _versions() -> str:
    names = ["jax", *(n for n in ("dask", "distributed") if importlib.util.find_spec(n))]
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
