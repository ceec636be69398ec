"""What the first minute of a user's process costs: run as a program, in a process of its own.

python -m launch.bench.first_call '[[64, 4], [192, 8]]'

prints a JSON object: seconds of `import deflation` and of jax alone, which is the first part of it;
of the first call of `parallel` for every [side, rank] in turn (wall and processor, and XLA's part);
and of warm calls: `parallel`, `exact` without bounds and numpy's SVD of the same matrix.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

CALLS = 15
TINY = (8, 1)


def main(shapes: list[tuple[int, int]]) -> dict:
    """The seconds."""
    started = time.perf_counter()
    import jax

    alone = time.perf_counter() - started
    import deflation

    imported = time.perf_counter() - started
    import numpy as np

    from launch.bench.timing import compiling

    def called(problem, rank, **options):
        jax.block_until_ready(deflation.parallel(problem, rank, **options).components)

    def solved(problem, rank):
        jax.block_until_ready(deflation.exact(problem, rank, certify=False).components)

    def median(call) -> float:
        return statistics.median(_seconds(call)[0] for _ in range(CALLS))

    def problem_of(side):
        matrix = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
        return matrix, deflation.Regression.from_matrix(matrix)

    calls = []
    for side, rank in shapes:
        matrix, problem = problem_of(side)
        with compiling() as spent:
            first = _seconds(lambda problem=problem, rank=rank: called(problem, rank))
        again = median(lambda problem=problem, rank=rank: called(problem, rank))
        exact = median(lambda problem=problem, rank=rank: solved(problem, rank))
        svd = median(lambda matrix=matrix: np.linalg.svd(matrix, full_matrices=False))
        names = "side", "rank", "first", "processor", "compiling", "next", "exact", "svd"
        values = side, rank, *first, sum(spent), again, exact, svd
        calls.append(dict(zip(names, values, strict=True)))
    tiny = problem_of(TINY[0])[1]
    called(tiny, TINY[1], rounds=1)
    overhead = median(lambda: called(tiny, TINY[1], rounds=1))
    return {"import": imported, "jax": alone, "overhead": overhead, "calls": calls}


def _seconds(call) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
