"""Decompose real data or a matrix into rank-one components and compare with the exact answer.

python -m launch.decompose --data=digits --workdir=runs/digits
python -m launch.decompose --data=FILE.npz --rank=8 --method=sequential --budget=400
python -m launch.decompose --matrix=model.safetensors:encoder.weight --rank=16 --method=sharded
python -m launch.decompose "--matrix=model.safetensors:encoder.*.weight" --method=auto
python -m launch.decompose --matrix=FILE.npy --method=sharded --mesh=worker:2,rows:4
python -m launch.decompose --matrix=FILE.npy --solver=krylov --tolerance=1e-4 --tolerance_of=error
python -m launch.decompose --data=digits --method=sharded --distributed=local/2 --workdir=runs/two
python -m launch.decompose --matrix=FILE.npy --method=sharded --mesh=rows:2 --distributed=local/2

The same command with the same --workdir goes on where an earlier run stopped, also on another
number of devices and processes, and with more --rounds prolongs it; --overwrite starts anew. The
last of these commands is for a matrix that memory does not hold: every process reads its own rows,
no exact answer is found, and a run that stopped begins anew.
"""

from __future__ import annotations

import contextlib
import pathlib

import jax

from launch.decomposing import several
from launch.decomposing.config import DecomposeConfig, going_on, require_read
from launch.decomposing.run import decompose
from launch.shell import app, distributed, earlier, supervise
from launch.shell.locks import one_writer
from rankwise.files import write_json


def main(config: DecomposeConfig) -> int | None:
    """Runs the decomposition, prints the comparison and writes the files."""
    require_read(config)
    parts = several.parts(config)
    if not parts:
        return _one(config)
    for part in parts.values():
        going_on(part)  # all are looked at before any is run
    results = {}
    for name, part in parts.items():
        print(f"\n{name}")
        results[name] = _run(part)
    write_json(config.json, results)
    return None


def _one(config: DecomposeConfig) -> int | None:
    going_on(config)  # here for the supervised too: before processes are started
    if supervise.parent(config.distributed):
        return supervise.run("launch.decompose", config.distributed, _saved(config))
    distributed.join(config.distributed)
    _run(config)
    return None


def _run(config: DecomposeConfig) -> dict:
    wide = jax.enable_x64(True) if config.dtype == "float64" else contextlib.nullcontext()
    folder = config.workdir if distributed.is_main_process() else None
    with one_writer(folder), wide:
        return decompose(config, folder, _saved(config) if going_on(config) else None)


def _saved(config: DecomposeConfig) -> pathlib.Path | None:
    return None if config.workdir is None else pathlib.Path(config.workdir) / earlier.SAVED


if __name__ == "__main__":
    app.run(main, DecomposeConfig)
