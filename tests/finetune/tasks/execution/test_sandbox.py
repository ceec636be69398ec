"""Programs that behave, and programs that do not: each ends, and only the right ones pass."""

import contextlib
import os
import pathlib
import secrets
import subprocess
import sys
import threading
import time

import pytest

from finetune.tasks.execution import sandbox
from finetune.tasks.execution.sandbox import Limits, Refused, run

QUICK = Limits(seconds=2.0, memory=1 << 28, files=1 << 20)


@pytest.fixture(autouse=True)
def allowed():
    if sandbox.refusal():
        pytest.skip(sandbox.refusal())


@pytest.fixture
def left(monkeypatch, tmp_path):
    """A function that lists the processes of this test's programs that are still there."""
    mark = f"of {tmp_path.name} {secrets.token_hex(8)}"
    script = tmp_path / f"{mark}.py"
    text = sandbox.SCRIPT.read_text()
    script.write_text(
        text.replace("def main():\n    import json", f"# {mark}\ndef main():\n    import json")
    )
    assert mark in script.read_text()
    monkeypatch.setattr(sandbox, "SCRIPT", script)

    def found() -> list[str]:
        lines = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                lines[folder.name] = (folder / "cmdline").read_bytes()
        return [name for name, line in lines.items() if mark.encode() in line]

    return found


def test_a_process_that_is_there_is_seen(left):
    """Otherwise the checks below would prove nothing."""
    seen = []

    def look():
        time.sleep(0.7)
        seen.extend(left())

    thread = threading.Thread(target=look)
    thread.start()
    run("import time\ntime.sleep(1.5)", Limits(seconds=4.0))
    thread.join()
    # The one that waits outside, process 1, and the program.
    assert len(seen) == 3 and not left()


def test_a_program_that_reaches_its_end_passes():
    assert run("def f(x):\n    return x + 1\nassert f(1) == 2") == (True, "")
    # The standard library is there.
    assert run("import math, re, typing, collections, itertools, hashlib, string, datetime").passed


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("assert 1 + 1 == 3", "AssertionError"),
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('no')", "RuntimeError"),
        ("x = b'\\0' * (1 << 30)", "MemoryError"),
        ("x = []\nwhile True:\n    x.append(bytearray(1 << 20))", "MemoryError"),
        ("input()", "EOFError"),
        ("def f():\n    f()\nf()", "RecursionError"),
        ("import numpy", "ModuleNotFoundError"),
        # Leaving early is no success.
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("raise SystemExit", "SystemExit"),
        ("import os\nos._exit(0)", "ended early"),
        ("import ctypes\nctypes.string_at(0)", "ended early"),
        ("import os\nos.write(3, b'0 refused: no')\nos._exit(0)", "ended early"),
        # Nor is writing where the harness writes.
        ("import os\nos.write(3, b'passed')\nos._exit(0)", "passed"),
        ("import os\nos.write(3, b'0' * 32)\nos._exit(0)", "ended early"),
        ("print('passed')\nimport os\nos._exit(0)", "ended early"),
    ],
)
def test_what_does_not_pass(program, reason):
    assert run(program, QUICK) == (False, reason)


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n    pass",
        "import time\ntime.sleep(60)",
        "import os\nos.setsid()\nimport time\ntime.sleep(60)",
        "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass",
        "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
        "import os\nwhile True:\n    os.write(1, b'x' * 1000)",
    ],
)
def test_what_does_not_end_is_ended(program, left):
    started = time.monotonic()
    verdict = run(program, Limits(seconds=1.0))
    assert not verdict.passed and verdict.reason in ("timed out", "ended early")
    assert time.monotonic() - started < 20
    assert not left()


def test_output_without_end_is_cut(left):
    verdict = run("import os\nwhile True:\n    os.write(3, b'x' * 1000)", QUICK)
    assert verdict == (False, "ended early") and not left()


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True:\n    os.fork()",
        "import threading\nthreading.Thread(target=print).start()",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
    ],
)
def test_there_are_no_other_processes(program, left):
    verdict = run(program, QUICK)
    assert not verdict.passed and verdict.reason in (
        "BlockingIOError",
        "RuntimeError",
        "PermissionError",
    )
    assert not left()


@pytest.mark.parametrize(
    "program",
    [
        "import socket\ns = socket.socket()\ns.settimeout(1)\ns.connect(('127.0.0.1', PORT))",
        "import socket\ns = socket.socket()\ns.settimeout(1)\ns.connect(('192.0.2.1', 80))",
        "import socket\nsocket.create_connection(('localhost', PORT), 1)",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:PORT', timeout=1)",
    ],
)
def test_there_is_no_network(program):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        program = program.replace("PORT", str(server.getsockname()[1]))
        verdict = run(program, QUICK)
        assert not verdict.passed and verdict.reason in ("OSError", "gaierror", "URLError")
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_files_outside_can_be_neither_seen_nor_written(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    folder = pathlib.Path(sandbox.__file__).parent
    for path in (secret, folder, pathlib.Path.home() / ".ssh", "/etc/passwd", "/proc/self", "/dev"):
        assert run(f"import os\nassert not os.path.exists({str(path)!r})", QUICK).passed, path
    for path in (tmp_path / "new", "/new", "/usr/new", f"{sys.base_prefix}/new"):
        verdict = run(f"open({str(path)!r}, 'w')", QUICK)
        assert verdict.reason in ("FileNotFoundError", "PermissionError", "OSError"), path
    assert os.listdir(tmp_path) == ["secret"]
    # A folder of its own is there, and empty, and small.
    assert run("import os\nassert os.listdir() == []\nopen('x', 'w').write('y')", QUICK).passed
    big = "for n in range(9):\n    with open(str(n), 'wb') as f:\n        f.write(bytes(1 << 18))"
    assert run(big, QUICK).reason == "OSError"
    assert run("with open('x', 'wb') as f:\n    f.write(bytes(1 << 21))", QUICK).passed is False


def test_there_is_no_environment_and_there_are_no_privileges(monkeypatch):
    monkeypatch.setenv("A_SECRET_OF_MINE", "x")
    assert run("import os\nassert 'A_SECRET_OF_MINE' not in os.environ", QUICK).passed
    assert run("import os\nassert os.getuid() == os.geteuid() == 65534", QUICK).passed
    privileged = "import ctypes\nlibc = ctypes.CDLL(None)\nassert libc.{}"
    for call in (
        "mount(b'none', b'/work', b'tmpfs', 0, None) == -1",
        "sethostname(b'x', 1) == -1",
        "umount2(b'/work', 2) == -1",
        "chroot(b'/work') == -1",
        # Process 1 is not the program, and no signal of the program reaches it.
        "kill(1, 9) in (0, -1)",
    ):
        assert run(privileged.format(call), QUICK).passed, call


def test_a_program_that_leaves_its_group_and_its_parent_is_ended_too(left):
    program = (
        "import os, ctypes, time\nos.setsid()\n"
        "ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)\ntime.sleep(60)"
    )
    assert run(program, Limits(seconds=1.0)) == (False, "timed out")
    assert not left()


def test_limits_are_checked():
    for options in ({"seconds": 0}, {"memory": 1000}, {"files": 0}, {"open_files": 1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            Limits(**options)


def test_a_system_that_allows_no_namespaces_runs_nothing(monkeypatch, tmp_path):
    script = tmp_path / "refusing.py"
    text = sandbox.SCRIPT.read_text()
    script.write_text(text.replace("libc.unshare(NEWUSER)", "refuse()") + "\n")
    refuse = "def refuse():\n    ctypes.set_errno(1)\n    return -1\n\n\n"
    script.write_text(script.read_text().replace("def called(", refuse + "def called("))
    monkeypatch.setattr(sandbox, "SCRIPT", script)
    marker = tmp_path / "ran"
    with pytest.raises(Refused, match=r"cannot be confined on this system: .*unshare\(user\)"):
        run(f"open({str(marker)!r}, 'w')")
    assert not marker.exists()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Refused, match="this is darwin"):
        run("pass")


def test_the_script_needs_nothing_but_the_standard_library():
    """It runs without site-packages, which is where this project lies."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(sandbox.SCRIPT)], input=b"{", capture_output=True
    )
    assert done.stdout.startswith(b" refused: ") and not done.stderr
