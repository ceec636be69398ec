"""Runs of several processes: one that dies ends the run in one line, and the run goes on."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from launch import decompose
from launch.decomposing.config import DecomposeConfig
from launch.shell import app, distributed, supervise

ROOT = pathlib.Path(__file__).parents[3]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "SLURM_PROCID"}
# One device each, see `launch.shell.distributed`.
ENVIRONMENT |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}
LONG = "--rounds=10000"
TIMEOUT = 240


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "matrix.npy"
    np.save(path, np.random.default_rng(0).normal(size=(6, 5)))
    return path


def started(*flags, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "launch.decompose", "--method=sharded", *flags],
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*flags):
    """The exit status of the command in this process."""
    with pytest.raises(SystemExit) as stop:
        app.run(decompose.main, DecomposeConfig, ["decompose", *flags])
    return stop.value.code or 0


def child_of(pid: int, ending: str) -> int:
    """The child of a process whose command line ends so; Linux says whose child each process is."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_text().strip("\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == pid and command.endswith(ending):
            return int(entry.name)
    raise AssertionError(f"no child of {pid} ends with {ending}")


def free(port: int) -> bool:
    with socket.socket() as listener:
        return listener.connect_ex(("localhost", port)) != 0


def saved(folder: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(folder / "run.npz") as file:
        return {name: file[name] for name in ("b", "a", "size", "round")}


@pytest.mark.thorough  # small ones below
@pytest.mark.skipif(not pathlib.Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_killed_process_ends_the_run_which_goes_on_alone(matrix, tmp_path):
    folder = tmp_path / "w"
    # From random factors no tolerance ends the run before its rounds are over.
    flags = [f"--matrix={matrix}", "--rank=3", "--dtype=float64", "--init=random", LONG]
    parent = started(*flags, f"--workdir={folder}", "--distributed=local/2")
    deadline = time.monotonic() + TIMEOUT
    while not (folder / "run.npz").exists() and parent.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child_of(parent.pid, "/2/1"), signal.SIGKILL)
    killed = time.monotonic()
    out, err = parent.communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert parent.returncode == 1 and out == ""
    waiting = ("chunks of ", "compiling", "finding", "reading")
    lines = [line for line in err.splitlines() if not line.startswith(waiting)]
    assert len(lines) == 1, err
    assert "process 1 " in lines[0] and "was ended by SIGKILL" in lines[0]
    assert lines[0].endswith(f"the same command goes on from {folder / 'run.npz'}")
    assert not (folder / "result.json").exists()
    reached = int(saved(folder)["round"])
    assert 0 < reached < 10000, "the kill came too late to prove anything"

    alone = ["--method=sharded", "--mesh=worker:1"]
    assert run(*flags, *alone, f"--workdir={folder}") == 0
    assert run(*flags, "--method=parallel", f"--workdir={tmp_path}/whole") == 0
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    rounds = [json.loads(line)["round"] for line in lines]
    assert rounds == sorted(set(rounds)) and rounds[0] <= reached < rounds[-1] == 10000
    got, expected = saved(folder), saved(tmp_path / "whole")
    for name in ("b", "a", "size"):
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-10)


def test_the_cluster_that_slurm_describes(matrix, tmp_path):
    """--distributed=auto by the variables that srun sets, for a job of one task."""
    # JAX takes the last digits of the job's number for the port.
    port = next(port for port in range(61440 + os.getpid() % 2048, 65536) if free(port))
    job = {"SLURM_JOB_ID": str(port - 61440), "SLURM_STEP_NODELIST": "localhost"}
    job |= {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    folder = tmp_path / "w"
    flags = [f"--matrix={matrix}", "--rank=2", f"--workdir={folder}", "--distributed=auto"]
    process = started(*flags, **job)
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, err
    assert "relative excess" in out
    assert json.loads((folder / "result.json").read_text())["rank"] == 2
    assert (folder / "process0.log").exists()


CHILD = """
import os, pathlib, signal, sys, time

def die(name):
    os.kill(os.getpid(), getattr(signal, name))

def end(status, text):
    print(text, file=sys.stderr)
    sys.exit(status)

address, count, number = sys.argv[-1].partition("=")[2].split("/")
folder = pathlib.Path(sys.argv[1])
(folder / f"new{number}").write_text(str(os.getpid()))
(folder / f"new{number}").rename(folder / f"pid{number}")  # never seen empty
while len(list(folder.glob("pid*"))) < int(count):
    time.sleep(0.01)
if "RANKWISE_OUTPUT" in os.environ:
    os.write(int(os.environ["RANKWISE_OUTPUT"].split(",")[0]), b"shown\\n")
print("not shown")
exec((folder / "what").read_text())
"""


@pytest.fixture
def children(tmp_path, monkeypatch):
    """Runs two processes that do what a text says, and returns the status."""
    (tmp_path / "child_of_a_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(app, "given", lambda without: [str(tmp_path)])

    def run(what):
        (tmp_path / "what").write_text(what)
        return supervise.run("at.child_of_a_test", "local/2", tmp_path / "run.npz")

    (tmp_path / "at").mkdir()
    (tmp_path / "child_of_a_test.py").rename(tmp_path / "at" / "child_of_a_test.py")
    return run


def test_what_ends_well_says_nothing(children, tmp_path, capfd):
    assert children("pass") == 0
    assert capfd.readouterr() == ("shown\n", "")
    assert (tmp_path / "process1.log").read_text() == "not shown\n"


@pytest.mark.parametrize(
    ("what", "status", "text"),
    [
        ("number == '1' and die('SIGSEGV') or time.sleep(99)", 1, "process 1 * SIGSEGV (see "),
        # The one that was killed is the cause, whoever is seen to end first.
        ("die('SIGABRT' if number == '0' else 'SIGKILL')", 1, "process 1 * ended by SIGKILL"),
        ("end(1, 'peer lost') if number == '0' else die('SIGKILL')", 1, "process 1 * SIGKILL"),
        ("end(3, 'no memory') if number == '1' else time.sleep(99)", 1, "status 3: no memory (see"),
        ("end(2, 'no file') if number == '1' else time.sleep(99)", 2, "status 2: no file (see"),
    ],
)
def test_the_cause_is_one_line(children, tmp_path, capfd, what, status, text):
    assert children(what) == status
    out, err = capfd.readouterr()
    assert err.count("\n") == 1 and err.endswith("; nothing was saved yet\n")
    for part in text.split(" * "):
        assert part in err
    assert out == "shown\n"
    for number in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"pid{number}").read_text()), 0)


def test_a_mistake_that_was_shown_is_not_said_again(children, capfd):
    assert children("end(2, 'in the log')") == 2
    assert capfd.readouterr().err == ""


def test_an_interrupt_ends_all(children, tmp_path, monkeypatch):
    def interrupt(seconds):
        if len(list(tmp_path.glob("pid*"))) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(supervise.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        children("time.sleep(99)")
    for number in range(2):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"pid{number}").read_text()), 0)


def test_where_to_go_on_from(tmp_path):
    assert supervise._resume(None) == "nothing was saved, which takes a --workdir"
    (tmp_path / "checkpoints").mkdir()
    assert supervise._resume(tmp_path / "checkpoints") == "nothing was saved yet"
    for step in ("8", "16", "24.orbax-checkpoint-tmp"):
        (tmp_path / "checkpoints" / step).mkdir()
    assert supervise._resume(tmp_path / "checkpoints").endswith("checkpoints/16")


@pytest.mark.parametrize(
    "where",
    ["here", "node:1", "node:1/2", "node:1/2/2", "local/0", "local", "local/2/1", "node/2/1"],
)
def test_another_form_of_a_place(where):
    with pytest.raises(ValueError, match=f"distributed is '{where}'; allowed are 'auto', HOST"):
        distributed.parse(where)
