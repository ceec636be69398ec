"""A run that is killed at any moment and started again ends with the same adapter."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
SECONDS = 60
STEPS = 96


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, HERE / "forks.py"], env=environment, **pipes)
    yield process
    process.stdin.close()
    process.wait(SECONDS)
    process.stdout.close()


def run(server, folder, kill_when=None, pause=0.0):
    """How the child ended: 0, or -9 if it was killed `pause` after `kill_when` became true."""
    folder.mkdir(exist_ok=True)
    server.stdin.write(f"{folder}\n")
    server.stdin.flush()
    child = int(server.stdout.readline())
    deadline = time.monotonic() + SECONDS
    if kill_when is not None:
        while not kill_when() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(pause)
        os.kill(child, signal.SIGKILL)
    return int(server.stdout.readline())


def steps(folder):
    saved = folder / "checkpoints"
    return [int(p.name) for p in saved.iterdir() if p.name.isdigit()] if saved.is_dir() else []


def latest(folder):
    return max(steps(folder), default=0)


def writing(folder):
    """Whether a checkpoint is just being written."""
    saved = folder / "checkpoints"
    return saved.is_dir() and any("tmp" in path.name for path in saved.iterdir())


def records(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    timed = ("examples_per_second",)
    return [{k: v for k, v in json.loads(line).items() if k not in timed} for line in lines]


@pytest.mark.thorough
def test_killed_at_random_moments_it_ends_with_bitwise_the_same_adapter(server, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(server, whole) == 0
    moments = random.Random(0)
    torn = False
    for _ in range(5):
        before = latest(parts)
        killed = run(server, parts, lambda: latest(parts) > before, moments.uniform(0, 0.15))  # noqa: B023
        assert killed == -signal.SIGKILL, "the run ended before it was killed"
        torn |= writing(parts)
    while not torn:
        assert run(server, parts, lambda: writing(parts)) == -signal.SIGKILL
        torn = writing(parts)
    assert 0 < latest(parts) < STEPS
    assert run(server, parts) == 0
    names = ("whole", "parts")
    one, two = ((tmp_path / name / "adapter.safetensors").read_bytes() for name in names)
    assert one == two
    assert records(whole) == records(parts)
    assert not writing(parts) and len(steps(parts)) <= 2
    # Run once more, there is nothing left to do.
    assert run(server, parts) == 0
    assert (parts / "adapter.safetensors").read_bytes() == one
