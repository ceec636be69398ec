"""A parent for the processes of a run: it starts them, watches them, and says what ended them.

A process that dies takes the others with it: the runtime aborts them, each with pages of its own,
or leaves them waiting. The parent ends them itself, in seconds, and says one line: which process,
how it ended, and what the same command goes on from. `--distributed=local/N` starts N processes on
this machine; any other form starts one, the part of this machine in a run that is watched on each.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from launch.shell import app, distributed

POLL = 0.1  # seconds
# A death reaches the others within milliseconds: of those that end together the cause is named.
GRACE = 1.0
FAILED = 1


def parent(where: str | None) -> bool:
    """Whether this process should start others rather than run."""
    return where is not None and not distributed.supervised()


def run(module: str, where: str, saved: pathlib.Path | None) -> int:
    """Runs `python -m module` with the flags of this command as one process or several.

    Their output is passed on but for the runtime's, which goes to process<NUMBER>.log in the folder
    of `saved`, or in a temporary one that is kept when the run fails.

    Args:
      module: a launcher that calls `distributed.join`.
      where: the flag --distributed.
      saved: what a run goes on from, a file or a folder of numbered ones; None without a --workdir.

    Returns:
      0, or after one line on stderr: 2 for a mistake of the user's, 1 for anything else.

    Raises:
      ValueError: another form of `where`.
      OSError: logs that cannot be written.
    """
    place = distributed.parse(where)
    numbers = range(place.count) if place.number is None and place.count else [place.number]
    logs = pathlib.Path(tempfile.mkdtemp(prefix="rankwise-")) if saved is None else saved.parent
    logs.mkdir(parents=True, exist_ok=True)
    flags = app.given(without=("distributed",))
    if place.address == "localhost":
        port = distributed.free_port()
        forms = [f"localhost:{port}/{place.count}/{number}" for number in numbers]
    else:
        forms = [where]
    program = module.rpartition(".")[2]
    with contextlib.ExitStack() as stack:
        children = []
        for form, number in zip(forms, numbers, strict=True):
            name = _name(number)
            command = [sys.executable, "-m", module, *flags, f"--distributed={form}"]
            log = logs / f"process{name}.log"
            children.append(stack.enter_context(_Child(command, name, log, first=not children)))
        failed = _first_failures(children)
        if not failed:
            if saved is None:
                shutil.rmtree(logs)
            return 0
        cause = min(failed, key=_Child.precedence)
    if cause.status == app.USAGE and cause is children[0]:
        return app.USAGE  # it has said its line itself
    app.say(program, f"{cause.described()}; {_resume(saved)}")
    return app.USAGE if cause.status == app.USAGE else FAILED


class _Child:
    """A process of the run; leaving the context kills it, which a saved run survives."""

    def __init__(self, command: list[str], name: str, log: pathlib.Path, first: bool):
        self.name, self.log = name, log
        environment = os.environ | {distributed.PARENT: str(os.getpid())}
        environment.pop(distributed.SHOWN, None)
        shown = [os.dup(1), os.dup(2)]
        if first:
            environment[distributed.SHOWN] = ",".join(map(str, shown))
        try:
            with log.open("w", encoding="utf-8") as stream:
                # Ctrl-C reaches the parent alone.
                self.process = subprocess.Popen(
                    command,
                    env=environment,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=shown,
                    start_new_session=True,
                )
        finally:
            for descriptor in shown:
                os.close(descriptor)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def status(self) -> int | None:
        """The exit status, minus the signal of one that was killed; None while it runs."""
        return self.process.poll()

    def precedence(self) -> int:
        """Small for causes, large for consequences: the runtime aborts those who are left."""
        killed = self.status < 0 and -self.status != signal.SIGABRT
        return 0 if killed else 1 if self.status == app.USAGE else 2 if self.status > 0 else 3

    def described(self) -> str:
        """How it ended."""
        who = f"process {self.name} ({self.process.pid} on {socket.gethostname()})"
        if self.status < 0:
            how = f"was ended by {signal.Signals(-self.status).name}"
        else:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(lines) if line.strip()), "no word")
            how = f"ended with status {self.status}: {' '.join(last.split())[:200]}"
        return f"{who} {how} (see {self.log})"


def _first_failures(children: list[_Child]) -> list[_Child]:
    """Waits; those who have failed within GRACE of the first, none if all have ended well."""
    while any(child.status is None for child in children):
        if any(child.status for child in children):
            time.sleep(GRACE)
            break
        time.sleep(POLL)
    return [child for child in children if child.status]


def _name(number: int | None) -> str:
    """The number of the process, as Slurm says it where JAX asks Slurm."""
    return str(os.environ.get("SLURM_PROCID", os.getpid()) if number is None else number)


def _resume(saved: pathlib.Path | None) -> str:
    if saved is None:
        return "nothing was saved, which takes a --workdir"
    if saved.is_dir():
        steps = [int(path.name) for path in saved.iterdir() if path.name.isdecimal()]
        saved = saved / str(max(steps, default="none"))
    if not saved.exists():
        return "nothing was saved yet"
    return f"the same command goes on from {saved}"
