"""One process that takes a matrix in a file apart; it is started by `disk_suite`.

python -m launch.bench.processes.disk_worker '{...}'

The argument is a JSON object: way, a name of `WAYS`; path of the
.npy file; rank, setting and repeats; `number` of this process, of `processes` that meet at
`address`; `workers` of dask; and factors, the .npz file that the first process writes.

It prints a JSON object: the wall seconds of the first call, from the file to factors in memory, the
medians of the later ones, wall and processor seconds, the most memory that this process, or one
that it started, had in use until the first call was over, and of ours how long it compiled.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

CHUNKS = 8  # of dask, of rows
Factors = tuple[np.ndarray, np.ndarray]
Run = tuple[Callable[[], Factors], Callable[[], dict]]
"""A call, and what is known after the first one: the peak of memory, and seconds of its parts."""


def main(payload: dict) -> dict:
    """Runs the calls, and writes the factors of the first one."""
    with WAYS[payload["way"]](payload) as (call, known):
        (b, a), first, _ = _timed(call)
        told = known()
        later = [_timed(call)[1:] for _ in range(payload["repeats"])]
    if not payload["number"]:
        np.savez(payload["factors"], b=b, a=a)
    wall, processor = map(statistics.median, zip(*later, strict=True))
    return {"first": first, "later": wall, "processor": processor} | told


def _timed(call: Callable[[], Factors]) -> tuple[Factors, float, float]:
    """What it returns, its wall seconds, and those of processors."""
    wall, processor = time.perf_counter(), time.process_time()
    factors = call()
    return factors, time.perf_counter() - wall, time.process_time() - processor


@contextlib.contextmanager
def ours(payload: dict) -> Iterator[Run]:
    """A run whose rows are cut over processes, each of which reads its own."""
    import jax

    from deflation import Sketch, advance, alternating, finish, start
    from launch.bench.timing import compiling
    from launch.decomposing import rows
    from rankwise import devices

    several = payload["processes"] > 1
    if several:
        place = payload["address"], payload["processes"], payload["number"]
        jax.distributed.initialize(*place, local_device_ids=0)
    mesh = devices.make({"worker": 1, rows.AXIS: payload["processes"]})
    size, width = payload["setting"]
    how = {"method": "sharded", "mesh": mesh, "row_axis": rows.AXIS, "init": Sketch(size, width)}

    def call() -> Factors:
        problem = rows.problem(payload["path"], "float32", mesh)
        state = start(problem, payload["rank"], alternating(consistent=True), **how)
        components = finish(advance(state, 1), certify=False).components
        return tuple(map(devices.fetched, components))

    with compiling() as spent:

        def known() -> dict:
            return {"peak": peak(), "compiling": sum(spent)}

        yield call, known
    if several:
        jax.distributed.shutdown()


@contextlib.contextmanager
def threads(payload: dict) -> Iterator[Run]:
    """dask's svd_compressed by threads of this process."""
    yield _compressed(payload, scheduler="threads", num_workers=payload["workers"]), _memory


@contextlib.contextmanager
def processes(payload: dict) -> Iterator[Run]:
    """The same by processes of dask.distributed."""
    from distributed import Client

    one = {"threads_per_worker": 1, "dashboard_address": None}
    with Client(n_workers=payload["workers"], **one) as client:
        yield (
            _compressed(payload, scheduler=client),
            lambda: {"peak": max(client.run(peak).values())},
        )


WAYS = {"ours": ours, "dask, threads": threads, "dask, processes": processes}


def _compressed(payload: dict, **how) -> Callable[[], Factors]:
    import dask.array as da
    from dask.array.linalg import svd_compressed

    path, power = payload["path"], {"n_power_iter": payload["setting"], "iterator": "QR", "seed": 0}

    def call() -> Factors:
        shape = np.load(path, mmap_mode="r").shape
        edges = np.linspace(0, shape[0], CHUNKS + 1).astype(int)
        chunks = (tuple(np.diff(edges).tolist()), (shape[1],))
        # Every chunk is read where it is used: the file's name travels and not its numbers.
        matrix = da.map_blocks(_chunk, path, edges, chunks=chunks, dtype=np.float32)
        factors = svd_compressed(matrix, payload["rank"], **power)
        u, s, vt = da.compute(*factors, **how)
        return (u * s).T, vt

    return call


def _chunk(path: str, edges: np.ndarray, block_info: dict) -> np.ndarray:
    number, stored = block_info[None]["chunk-location"][0], np.load(path, mmap_mode="r")
    start, stop = map(int, edges[number : number + 2])
    columns = stored.shape[1]
    first = stored.offset + start * columns * stored.itemsize
    # Not through the map, whose pages would count as memory beside the chunk.
    numbers = np.fromfile(path, stored.dtype, (stop - start) * columns, offset=first)
    return numbers.reshape(-1, columns)


def _memory() -> dict:
    return {"peak": peak()}


def peak() -> int:
    """The most bytes of memory that this process had in use."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # Of this program alone; what resource says may be the process' that started it.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return 1024 * int(lines["VmHWM"].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
