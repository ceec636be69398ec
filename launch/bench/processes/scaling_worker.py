"""One process of the scaling measurements.

python -m launch.bench.processes.scaling_worker '{...}'

It is started by `scaling_suite` with its core and its number of threads already chosen, holds one
CPU device, and prints what it has measured as one line of JSON. The argument is a JSON object:
rows, columns, rank, rounds, repeats; parts, the device counts whose share of a round is timed; and
for one of several processes address, processes, number.

Times are the shortest of the repeats: on a shared machine other programs only add to them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from deflation import Components, Regression, advance, start
from deflation.rounds.mesh import worker_mesh
from deflation.rounds.rounds import Block, parallel_round
from deflation.rounds.stopping import Moves
from launch.bench.timing import in_turn

Program = Callable[[], jax.Array]

DECAY = 0.9  # of neighbouring singular values at rank 64; at others the first r span as much


def problem_of(rows: int, columns: int, rank: int) -> tuple[Regression, Components]:
    """An (m, d) target with 2 r singular values DECAY^(64 k / r), alike in every process, and the
    first r of its components."""
    g = np.random.default_rng(0)
    count = min(rows, columns, 2 * rank)
    left, right = (np.linalg.qr(g.normal(size=(n, count)))[0] for n in (rows, columns))
    left = left * DECAY ** (64 / rank * np.arange(count))
    best = Components(*(np.float32(f.T[:rank]) for f in (left, right)))
    return Regression.from_matrix(np.float32(left @ right.T)), best


def share(problem: Regression, rank: int, devices: int, rounds: int) -> Program:
    """What one of `devices` devices computes in its rounds, their exchanges left out."""
    state = start(problem, rank, staggered=False)
    index = devices * jnp.arange(-(-rank // devices))

    @jax.jit
    def run(problem, controls, progress):
        def local_round(_, progress):
            def exchange(block):
                held = Block(progress.factors, Moves(progress.moved, progress.sizes, None))
                return jax.tree.map(
                    lambda rows, new: rows.at[index].set(new, mode="drop"), held, block
                )

            return parallel_round(
                problem, state.solver, state.plan, controls, progress, index, exchange
            )

        return jax.lax.fori_loop(0, rounds, local_round, progress).factors.b

    return lambda: run(problem, state.controls, state.progress)


def real(problem: Regression, rank: int, rounds: int, **how) -> Program:
    """The rounds of a real run, everything included."""
    state = start(problem, rank, staggered=False, **how)
    return lambda: advance(state, rounds).progress.factors.b


def gathers(rank: int, numbers: int, rounds: int) -> Program:
    """The all-gathers of the rounds alone, over all devices of all processes."""
    mesh = worker_mesh(None, "worker")
    rows, here = -(-rank // jax.device_count()), jax.sharding.PartitionSpec("worker")

    def repeated(block):
        def gathered(_, block):
            every = jax.lax.all_gather(block, "worker", axis=0, tiled=True)
            # What the next one sends depends on what this one received.
            return block + 0 * every[-1:]

        return jax.lax.fori_loop(0, rounds, gathered, block)

    run = jax.jit(jax.shard_map(repeated, mesh=mesh, in_specs=here, out_specs=here))
    block = jax.device_put(
        np.ones((rows * jax.device_count(), numbers), np.float32),
        jax.sharding.NamedSharding(mesh, here),
    )
    return lambda: run(block)


def shortest(programs: dict[str, Program], repeats: int) -> dict[str, float]:
    """Seconds of the fastest warm call of each, called in turn."""
    calls = [lambda p=program: p().block_until_ready() for program in programs.values()]
    for call in calls:
        call()
    return dict(zip(programs, map(min, in_turn(calls, range(repeats))), strict=True))


def main(payload: dict) -> dict:
    """Measures what the argument asks for: seconds of a round by name, and of a sketch."""
    several = payload.get("processes", 1) > 1
    if several:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(payload["address"], payload["processes"], payload["number"])
    rank, numbers = payload["rank"], payload["rows"] + payload["columns"] + 2
    problem, _ = problem_of(payload["rows"], payload["columns"], rank)
    rounds, repeats = payload["rounds"], payload["repeats"]
    if several:
        programs = {
            f"staleness {tau}": real(problem, rank, rounds, method="sharded", staleness=tau)
            for tau in (0, 1)
        }
        programs["gather"] = gathers(rank, numbers, rounds)
    else:
        programs = {f"share {p}": share(problem, rank, p, rounds) for p in payload["parts"]}
        programs["run"] = real(problem, rank, rounds)
    per_round = {name: total / rounds for name, total in shortest(programs, repeats).items()}
    if several:
        jax.distributed.shutdown()
    else:
        sketch = {"sketch": lambda: start(problem, rank, init="sketch").progress.factors.b}
        per_round |= shortest(sketch, repeats)
    return per_round


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
