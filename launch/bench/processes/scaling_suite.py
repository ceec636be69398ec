"""Parallel deflation over 1, 2, 4, 8 devices: a model, and two pinned processes beside it.

`rows(size)` measures, on one core and one thread or on the accelerator that is there, what a device
computes in a round (scaling_worker.py), counts rounds to accuracy of real runs,
predicts from both with stated links (scaling_model.py), and on a CPU lets two
processes of one core each run `sharded`, over a link that is measured as well. The baseline
everywhere is one device with all components, published at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from deflation import start, step
from deflation.problem.components import distances, norms
from launch.bench.processes import scaling_model, scaling_worker
from launch.bench.processes.scaling_model import DEVICES, LINKS, Link, Work
from launch.bench.rows import record
from launch.shell import distributed

ROOT = pathlib.Path(__file__).parents[3]
TIMEOUT = 900
PAIR = 2


@dataclasses.dataclass(frozen=True)
class Size:
    """An (rows, columns) target, `rank` components; rounds per timing, repeats of it; and how far
    every component may be off, relative to itself, when rounds are counted, at most `longest`."""

    rows: int
    columns: int
    rank: int
    rounds: int = 3
    repeats: int = 60
    accuracy: float = 1e-3
    longest: int = 400

    @property
    def work(self) -> Work:
        """The sizes that the model reads."""
        return Work(self.rank, self.rows + self.columns + 2)


SIZES = {
    "quick": Size(1024, 1024, 64),
    "full": Size(2048, 2048, 128, repeats=20, longest=2000),
}
PORTION = 20  # rounds between two looks at the accuracy
STARTS = {
    "staggered": {"staggered": True},
    "published at once": {"staggered": False},
    "from a sketch": {"staggered": False, "init": "sketch"},
}
WAYS = [(name, tau) for name in STARTS for tau in (0, 1)]


def rows(size: Size, links: tuple[Link, ...] = LINKS) -> list[dict]:
    """The rows of the table; columns as in `launch.benchmark`, NaN where there is no error.

    A speed-up is the ratio. Errors are those of the worst component, relative to its size, when the
    counted rounds are over. A sketch is computed by every device for itself, in the same seconds on
    one device and on many; they are part of the rows that begin with it.

    Raises:
      RuntimeError: a measuring process failed or took longer than `TIMEOUT`.
    """
    host = jax.default_backend() == "cpu"
    # One accelerator times every share of its components; a pair of processes needs two hosts.
    alone = _measured(size, 1)[0] if host else scaling_worker.main(_payload(size))
    work = size.work
    compute = {work.per_device(p): alone[f"share {p}"] for p in DEVICES}
    counts = {way: rounds_to_accuracy(size, *way) for way in WAYS}
    rows = []
    for link in links:
        for devices in DEVICES[1:]:
            rows += [_round_row(work, devices, tau, link, compute) for tau in (0, 1)]
            for way in WAYS:
                rows.append(_whole_row(work, devices, way, link, compute, counts, alone["sketch"]))
    return rows + (_pair_rows(work, alone, _measured(size, PAIR)[0], compute) if host else [])


def rounds_to_accuracy(size: Size, begin: str, staleness: int) -> tuple[int, float]:
    """Rounds until every component is published and within the accuracy, and the worst error then.

    `begin` is one of `STARTS`.

    Raises:
      ValueError: it is not reached within `longest` rounds.
    """
    problem, best = scaling_worker.problem_of(size.rows, size.columns, size.rank)
    state = start(problem, size.rank, staleness=staleness, **STARTS[begin])

    @jax.jit
    def portion(state):
        def measured_step(state, _):
            state = step(state)
            worst = jnp.max(distances(state.progress.factors, best) / norms(best))
            return state, jnp.where(state.progress.active == size.rank, worst, jnp.inf)

        return jax.lax.scan(measured_step, state, length=PORTION)

    for before in range(0, size.longest, PORTION):
        state, path = portion(state)
        there = np.flatnonzero(np.asarray(path) <= size.accuracy)
        if there.size:
            return before + int(there[0]) + 1, float(path[there[0]])
    raise ValueError(f"longest is {size.longest}; allowed is what reaches {size.accuracy}")


def _round_row(work: Work, devices: int, tau: int, link: Link, compute) -> dict:
    ours = scaling_model.round_seconds(work, devices, link, compute, tau)
    share = scaling_model.exchange_seconds(work, devices, link)
    share /= share + compute[work.per_device(devices)]
    case = f"round, P={devices}, staleness {tau}, {work.gathered_bytes(devices)} B in one "
    case += f"all-gather, {share:.1%} communication"
    return _row(case, f"model, {link.name}", "one device", ours, compute[work.rank])


def _whole_row(work: Work, devices: int, way, link: Link, compute, counts, sketch) -> dict:
    (begin, tau), (count, error) = way, counts[way]
    # One device publishes at once: staggering saves it nothing.
    plain = begin if begin == "from a sketch" else "published at once"
    before = sketch if begin == "from a sketch" else 0.0
    baseline, error_baseline = counts[plain, 0]
    ours = before + count * scaling_model.round_seconds(work, devices, link, compute, tau)
    reference = before + baseline * compute[work.rank]
    case = f"end to end, P={devices}, staleness {tau}, {count} rounds {begin}"
    competitor = f"one device, {baseline} rounds {plain}"
    return _row(case, f"model, {link.name}", competitor, ours, reference, error, error_baseline)


def _pair_rows(work: Work, alone: dict, pair: dict, compute) -> list[dict]:
    """Two processes beside one, and beside what the model says of the link that was measured."""
    # CPU collectives are synchronous: nothing is hidden, whatever the staleness.
    model = compute[work.per_device(PAIR)] + pair["gather"]
    rows = []
    for tau in (0, 1):
        case, ours = f"round, P={PAIR}, staleness {tau}", pair[f"staleness {tau}"]
        rows.append(_row(case, "2 processes measured", "1 process measured", ours, alone["run"]))
        rows.append(_row(case, "2 processes measured", "model, measured link", ours, model))
    return rows


def _row(case, ours, competitor, seconds, reference, *errors) -> dict:
    names, times = (ours, competitor), (seconds, reference)
    return record("scaling", case, names, times, errors or (math.nan, math.nan))


def _measured(size: Size, processes: int) -> list[dict]:
    """What `processes` processes of one core and one thread each tell."""
    payload = _payload(size) | {
        "processes": processes,
        "address": f"localhost:{distributed.free_port()}",
    }
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    # Read by XLA: one thread, and one more where one waits for the other process.
    environment["NPROC"] = "1" if processes == 1 else "2"
    cores = sorted(os.sched_getaffinity(0))
    running = []
    try:
        for number in range(processes):
            # A new process inherits the cores of its parent.
            os.sched_setaffinity(0, {cores[number % len(cores)]})
            command = [sys.executable, "-m", "launch.bench.processes.scaling_worker"]
            command.append(json.dumps(payload | {"number": number}))
            pipe = subprocess.PIPE
            running.append(
                subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)
            )
        os.sched_setaffinity(0, cores)
        outputs = [process.communicate(timeout=TIMEOUT) for process in running]
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{processes} measuring processes took more than {TIMEOUT} s") from None
    finally:
        os.sched_setaffinity(0, cores)
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"a measuring process failed: {(errors.splitlines() or [''])[-1]}")
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def _payload(size: Size) -> dict:
    """What a measuring process is given."""
    names = ("rows", "columns", "rank", "rounds", "repeats")
    return {name: getattr(size, name) for name in names} | {"parts": DEVICES}
