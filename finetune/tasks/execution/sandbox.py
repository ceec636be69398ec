"""Runs Python code that nobody has read: in a process apart, without network, files and time.

The process has namespaces of its own (users, mounts, processes, network, IPC), sees Python
read-only and an empty folder in memory, has no environment, no standard input and no privileges,
and is killed with all its descendants when the time is up; see
`finetune.tasks.execution.confinement`. Where the kernel does not allow that, nothing runs: there is
no weaker way.

It protects the machine from mistakes and from ordinary malice; it is no proof against a program
that exploits the kernel. And it protects the score from programs that leave early, not from one
that searches the interpreter for the harness's token.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import pathlib
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from rankwise import checks

SCRIPT = pathlib.Path(__file__).with_name("confinement.py")
# A verdict is a token or the name of an exception.
LONGEST, LONGEST_NAME = 4096, 80


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
      seconds: of wall-clock time, and of the processor's, rounded up.
      memory: bytes of address space.
      files: bytes of all files together, and of one.
      open_files: file descriptors.

    Further processes and threads are not to be had at all.
    """

    seconds: float = 10.0
    memory: int = 1 << 29
    files: int = 1 << 24
    open_files: int = 32

    def __post_init__(self):
        checks.positive("seconds", self.seconds)
        checks.integer("memory", self.memory, 1 << 26)
        checks.integer("files", self.files, 1 << 16)
        checks.integer("open_files", self.open_files, 8)

    def of_process(self) -> dict[str, int]:
        """Names and values for setrlimit."""
        return {
            "RLIMIT_CPU": math.ceil(self.seconds),
            "RLIMIT_AS": self.memory,
            "RLIMIT_FSIZE": self.files,
            "RLIMIT_NPROC": 1,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }


class Verdict(NamedTuple):
    """How a program ended.

    Attributes:
      passed: its last line was reached.
      reason: "" then, else "timed out", "ended early", or the name of the exception.
    """

    passed: bool
    reason: str


class Refused(OSError):
    """The system does not allow a confined process."""


def run(program: str, limits: Limits = Limits()) -> Verdict:
    """Runs a program and says whether it got to its end.

    Raises:
      Refused: not Linux, or a kernel that does not allow the namespaces or a step of the setup.

    Example:
      >>> run("assert 1 + 1 == 3").reason  # doctest: +SKIP
      'AssertionError'
    """
    if sys.platform != "linux":
        raise Refused(f"code is confined by namespaces of Linux; this is {sys.platform}")
    token = secrets.token_hex(16)
    executable = os.path.realpath(sys.executable)
    request = {
        "program": program,
        "token": token,
        "executable": executable,
        "python": _python(executable),
        "size": limits.files,
        "limits": limits.of_process(),
    }
    with tempfile.TemporaryDirectory(prefix="sandbox-") as folder:
        # The interpreter behind a virtual environment: its own packages are not to be had.
        process = subprocess.Popen(
            [executable, "-I", "-S", "-B", str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        )
        try:
            said = _answer(process, json.dumps(request).encode(), limits.seconds)
        finally:
            _end(process)
    if said is None:
        return Verdict(False, "timed out")
    text = said.decode(errors="replace")
    if text == token:
        return Verdict(True, "")
    # With the token, as anything else may be what the program itself has written.
    head, refused, reason = text.partition(" refused: ")
    if refused and head == token:
        raise Refused(f"code cannot be confined on this system: {reason}")
    name = len(text) < LONGEST_NAME and text.isidentifier()
    return Verdict(False, text if name else "ended early")


@functools.cache
def refusal() -> str:
    """Why code cannot be confined on this system; "" if it can."""
    try:
        verdict = run("pass")
    except Refused as error:
        return str(error)
    return "" if verdict.passed else f"an empty program {verdict.reason}"


def _answer(process: subprocess.Popen, request: bytes, seconds: float) -> bytes | None:
    """What the process writes until it ends; None where the time is up before that."""
    assert process.stdin is not None and process.stdout is not None
    end = time.monotonic() + seconds
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(request)
    said = b""
    while len(said) < LONGEST:
        left = end - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return None
        part = os.read(process.stdout.fileno(), LONGEST)
        if not part:
            return said
        said += part
    return said


def _end(process: subprocess.Popen) -> None:
    """Kills the whole group, and waits until the last of its descendants is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    with process.stdout as pipe:
        # It ends when nobody has it open any more.
        while os.read(pipe.fileno(), LONGEST):
            pass


def _python(executable: str) -> list[str]:
    """Folders that the interpreter lives in, where they are not below /usr."""
    folders = (sys.base_prefix, sys.base_exec_prefix, os.path.dirname(os.path.dirname(executable)))
    folders = dict.fromkeys(os.path.realpath(folder) for folder in folders)
    return [f for f in folders if f != "/" and not f.startswith(("/usr/", "/lib")) and f != "/usr"]
