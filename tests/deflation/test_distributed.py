"""Two processes that share four devices give the answer of one process and one device."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from deflation import parallel
from tests.deflation.problems import R, close, from_data, maps, precision

ROOT = pathlib.Path(__file__).parents[2]
TIMEOUT = 120  # of a run that takes a few seconds

PROGRAM = """
import json, sys
import jax

port, number, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=number)

import numpy as np
from deflation import Regression, advance, finish, load, save, sharded, start

with np.load(folder + "/data.npz") as file:
    problem = Regression.from_data(file["x"], file["y"])


def told(solution):
    return {
        "b": np.asarray(solution.components.b).tolist(),
        "a": np.asarray(solution.components.a).tolist(),
        "residual": float(problem.residual(jax.tree.map(np.asarray, solution.components))),
        "rounds": int(solution.rounds),
        "history": np.asarray(solution.history.size).tolist(),
        "status": solution.status.name,
    }


plain = sharded(problem, 3, rounds=12)
early = sharded(problem, 3, rounds=200, tolerance=1e-3)

# Saved by every process for itself, and resumed on all of them.
state = advance(start(problem, 3, method="sharded"), 5)
path = f"{folder}/run{number}.npz"
save(path, state)
resumed = finish(advance(load(path, start(problem, 3, method="sharded")), 7))

print(json.dumps({
    "processes": jax.process_count(),
    "devices": jax.device_count(),
    "plain": told(plain), "early": told(early), "resumed": told(resumed),
}))
jax.distributed.shutdown()
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    from tests.deflation.problems import data

    x, y = data()
    np.savez(folder / "data.npz", x=x, y=y)
    port = str(free_port())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, port, str(number), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


def test_two_processes_took_part(answers):
    assert [(a["processes"], a["devices"]) for a in answers] == [(2, 4)] * 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {"rounds": 12}),
        ("early", {"rounds": 200, "tolerance": 1e-3}),
        ("resumed", {"rounds": 12}),
    ],
)
def test_processes_agree_with_one_device(answers, name, options):
    with precision("float64"):
        problem = from_data()
        wanted = parallel(problem, R, **options)
        for answer in answers:
            got = answer[name]
            assert (got["rounds"], got["status"]) == (int(wanted.rounds), wanted.status.name)
            got_maps = maps((got["b"], got["a"]))
            close(got_maps, maps(wanted.components), "float64")
            close(got["history"], wanted.history.size, "float64")
            close(got["residual"], problem.residual(wanted.components), "float64")
        assert answers[0][name] == answers[1][name]
        if name == "early":
            assert int(wanted.rounds) < 100
