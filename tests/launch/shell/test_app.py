"""A launcher is a well-behaved command: one line for a mistake, the right status, no leftovers."""

import dataclasses
import os
import signal
import stat
import subprocess
import sys

import jax
import pytest
from absl import app as absl_app
from absl import flags

from launch.shell import app, waiting
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class Config:
    rank: int = option(3, "a rank", lower=1)
    name: str = option("good", "a name")
    scale: float = option(1.0, "a scale", lower=0)

    def __post_init__(self):
        if self.name == "bad":
            raise ValueError(f"name is {self.name!r};\n  allowed are others")


@pytest.fixture
def command(capsys):
    """Runs a command line in this process: (status, stdout, stderr)."""

    def call(main, *arguments):
        with pytest.raises(SystemExit) as ended:
            app.run(main, Config, ["/path/prog.py", *arguments])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return call


def test_flags_become_the_configuration(command):
    seen = []
    assert command(seen.append)[0] == 0
    assert command(seen.append, "--rank=5", "--name", "other")[0] == 0
    # Nothing is left over from the call before.
    assert command(seen.append, "--name=x")[0] == 0
    assert seen == [Config(3, "good"), Config(5, "other"), Config(3, "x")]


def test_the_command_line_once_more(command):
    seen, given = [], ["--name=a b", "--nojax_debug_nans", "--verbosity=1"]

    def main(config):
        seen.append((config, sorted(app.given(without=("rank",)))))

    assert command(main, "--rank=5", "--name", "a b", "--nojax_debug_nans", "-v=1")[0] == 0
    assert command(main, *given)[0] == 0
    assert seen == [(Config(5, "a b"), given), (Config(3, "a b"), given)]


def test_flags_are_gone_when_the_command_has_ended(command):
    before = set(flags.FLAGS)
    command(lambda config: 0)
    command(lambda config: 0, "--unknown=1")
    assert "rank" not in flags.FLAGS
    # absl's and JAX's own are defined by the first command of a process.
    assert all(name.startswith("jax_") or name in before for name in set(flags.FLAGS) - before)


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_status_is_what_main_returns(command, status):
    assert command(lambda config: status) == (status, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rnak=3"], "Unknown command line flag 'rnak'. Did you mean: rank ?"),
        (["--rank=0"], "flag --rank=0: allowed is a positive integer"),
        (["--rank=many"], "flag --rank=many"),
        (["--scale=nan"], "flag --scale=nan: allowed is a non-negative number"),
        (["--name"], "name"),
        (["left", "over"], "unexpected argument 'left'"),
        (["--name=bad"], "name is 'bad'; allowed are others"),
    ],
)
def test_a_wrong_command_line_is_one_line(command, arguments, message):
    ran = []
    status, out, err = command(ran.append, *arguments)
    assert (status, out, ran) == (2, "", [])
    assert err.startswith("prog: ") and message in err
    assert err.count("\n") == 1 and err.endswith("\n")


def fail(error):
    def main(config):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("rank is 9;\nallowed is 1"), "rank is 9; allowed is 1"),
        (ValueError(), "ValueError"),
        (KeyError("no key 'z' in data.npz; it has x, y"), "no key 'z' in data.npz; it has x, y"),
        (FileNotFoundError(2, "No such file or directory", "data.npz"), "data.npz: No such file"),
        (OSError("cannot write"), "cannot write"),
        (absl_app.UsageError("not both"), "not both"),
    ],
)
def test_a_mistake_found_later_is_one_line_too(command, error, line):
    status, _, err = command(fail(error))
    assert status == 2
    assert err.startswith(f"prog: {line}") and err.count("\n") == 1


def test_ctrl_c_is_one_line(command):
    assert command(fail(KeyboardInterrupt())) == (130, "", "prog: interrupted\n")


def test_a_defect_keeps_its_traceback(capsys):
    with pytest.raises(RuntimeError, match="a defect"):
        app.run(fail(RuntimeError("a defect")), Config, ["prog"])
    assert "rank" not in flags.FLAGS


def test_verbosity_brings_the_traceback_back(command):
    status, _, err = command(fail(ValueError("wrong")), "--verbosity=1")
    assert status == 2
    assert "Traceback" in err and err.endswith("prog: wrong\n")
    assert "Traceback" not in command(fail(ValueError("wrong")))[2]


def test_the_cache_is_private_and_optional(command, tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    shortest = jax.config.jax_persistent_cache_min_compile_time_secs
    command(lambda config: 0, "--jax_cache_dir=")
    assert jax.config.jax_compilation_cache_dir == before
    try:
        command(lambda config: 0, f"--jax_cache_dir={tmp_path}/a/xla")
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/a/xla"
        assert stat.S_IMODE(os.stat(tmp_path / "a" / "xla").st_mode) == 0o700
        # What was chosen elsewhere stays; only without a choice it is the user's cache folder.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        command(lambda config: 0)
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/a/xla"
        jax.config.update("jax_compilation_cache_dir", None)
        command(lambda config: 0)
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/home/rankwise/xla"
        # A home without room for a cache is slower, not wrong; a folder that was asked for is.
        (tmp_path / "file").touch()
        jax.config.update("jax_compilation_cache_dir", None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert command(lambda config: 0) == (0, "", "")
        status, _, err = command(lambda config: 0, f"--jax_cache_dir={tmp_path}/file/xla")
        assert status == 2 and err.count("\n") == 1
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)


@pytest.mark.parametrize(("total", "lines"), [(1, 1), (5, 5), (42, 11), (1000, 11)])
def test_progress_is_a_few_lines_in_a_file(capsys, monkeypatch, total, lines):
    monkeypatch.setattr(waiting, "PAUSE", 0.0)
    assert list(waiting.progress(range(total), total, "claims")) == list(range(total))
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) <= lines
    assert err.splitlines()[-1].startswith(f"claims: {total}/{total} in 0 s")


def test_progress_of_what_is_quick_is_its_first_and_last_line(capsys):
    assert list(waiting.progress(range(100), 100, "claims")) == list(range(100))
    assert capsys.readouterr().err == "claims: 1/100 in 0 s\nclaims: 100/100 in 0 s\n"


def test_progress_without_a_total_thins_out(capsys, monkeypatch):
    monkeypatch.setattr(waiting, "PAUSE", 0.0)
    list(waiting.progress(iter(range(100)), None, "steps"))
    done = [int(line.split()[1]) for line in capsys.readouterr().err.splitlines()]
    assert done == [1, 2, 4, 8, 16, 32, 64]


def test_progress_of_nothing_is_silent(capsys, monkeypatch):
    assert list(waiting.progress([], 0, "claims")) == []
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert list(waiting.progress([1, 2], 2, "claims")) == [1, 2]


def test_progress_is_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(waiting.progress(range(3), 3, "claims")) == [0, 1, 2]
    err = capsys.readouterr().err
    assert "\r" in err and "claims:" in err


PROGRAM = """
import dataclasses, sys, time
import jax
from launch.shell import app, waiting
from rankwise.options import option

@dataclasses.dataclass(frozen=True)
class Config:
    lines: int = option(0, "how many lines to print, 0 to sleep")

def main(config):
    jax.devices()
    print("started", flush=True)
    if config.lines == 0:
        # Short ones: a signal just before a sleep begins does not end it.
        for _ in waiting.progress(range(600), 600, "naps"):
            time.sleep(0.1)
    for k in range(config.lines):
        print("line", k)

app.run(main, Config)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "XDG_CACHE_HOME": str(tmp_path)}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, path, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    return start


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)
def test_a_signal_in_a_process_of_its_own(number, status, line, program):
    process = program()
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=90)
    assert (process.returncode, err.splitlines()[-1]) == (status, f"program: {line}")
    assert "Traceback" not in err


def test_a_reader_that_leaves_early_is_no_error(program):
    process = program("--lines=100000")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_help_is_on_stdout_and_no_failure(program):
    out, err = program("--help").communicate(timeout=30)
    assert "--lines=N\n      how many lines to print" in out and "--jax_cache_dir" in out
    assert err == ""
