"""What every launcher shares: it turns an absl program into a well-behaved command.

A launcher is a frozen dataclass, whose fields are its flags (config_flags.py), and `main(config)`;
`run` puts them together. Flags are defined when the command starts and removed when it ends, so
that several launchers can be imported, and called, in one process.

absl's own behaviour on a bad flag is a usage text and exit status 1, and on any error in `main` a
traceback. Here a mistake of the user's is one line on stderr and exit status 2; a traceback means
a defect in the program. `--verbosity=1` brings the traceback back for both.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

import rankwise
from launch.shell import config_flags, distributed, flagfiles, help_page, path_flags, written
from launch.shell.ending import Terminated, endable, exit_now

USAGE = 2
ASKED = ("help", "h", "helpshort", "?", "version")
INTERRUPTED = 128 + signal.SIGINT  # as a shell reports it
TERMINATED = 128 + signal.SIGTERM
BROKEN_PIPE = 141  # 128 + SIGPIPE
# What a user can cause: a value out of range, a file that is not there, a key that is not in it.
MISTAKES = (flags.Error, app.UsageError, ValueError, KeyError, OSError)


def run(
    main: Callable[[Any], int | None],
    config_type: type,
    argv: list[str] | None = None,
    beside: type | None = None,
) -> NoReturn:
    """Parses the command line into `config_type`, runs `main` on it and exits.

    Args:
      main: takes the configuration, returns the exit status (None is 0).
      config_type: a frozen dataclass of options, a flag for each; what its `__post_init__` refuses
        with a ValueError is reported like a bad flag. Its ARGUMENT, if it has one, names the flag
        that an argument without a name is the value of.
      argv: program name and arguments; `sys.argv` when None.
      beside: another one, whose flags the command takes as well and reads by itself.

    Raises:
      SystemExit: always. Status 2, after one line on stderr, for an unknown or malformed flag, a
        leftover argument, and a ValueError, KeyError or OSError out of `main`; 130 for Ctrl-C and
        143 for SIGTERM.

    Example:
      >>> run(main, CheckConfig, ["check", "--trials=8"])  # doctest: +SKIP
    """
    own_process = argv is None
    argv = list(sys.argv if argv is None else argv)
    program = pathlib.Path(argv[0]).stem
    _define_jax_flags()
    known = set(flags.FLAGS)
    for of_flags in filter(None, (beside, config_type)):
        config_flags.define(of_flags)
    _define_cache_flag()

    def configured(arguments: list[str]) -> int:
        if arguments is None:  # the command line could not be parsed
            return USAGE
        status = _guarded(program, lambda: main(_configure(config_type, arguments)))
        if status:
            distributed.leave(status)
        if own_process and status in (INTERRUPTED, TERMINATED):
            exit_now(status)
        return status

    try:
        own = [name for name in flags.FLAGS if name not in known]
        page = functools.partial(_help, main, own)
        app.run(configured, argv, flags_parser=lambda arguments: _parse(program, arguments, page))
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)


def _define_jax_flags() -> None:
    # --jax_num_cpu_devices, --jax_debug_nans, ... take effect when absl has parsed them.
    if "jax_debug_nans" not in flags.FLAGS:
        jax.config.config_with_absl()


def _define_cache_flag() -> None:
    with help_page.group("run"):
        path_flags.define_path(
            "jax_cache_dir",
            None,
            "folder that keeps compiled programs between runs; by default one per user "
            "($XDG_CACHE_HOME/rankwise/xla), empty for none",
        )


def _parse(program: str, argv: list[str], page: Callable[[], str]) -> list[str] | None:
    """The leftover arguments, or None after the reason was printed."""
    flags.FLAGS.unparse_flags()
    try:
        if asked := [text for text in argv[1:] if text.lstrip("-") in ASKED and text[:1] == "-"]:
            others = [text for text in argv[1:] if text not in asked]
            with contextlib.suppress(flags.Error):  # what can be read of them, for --method
                flagfiles.parse(argv[0], others)
            version = asked[0].lstrip("-") == "version"
            sys.stdout.write(f"rankwise {rankwise.__version__}\n" if version else page())
            raise SystemExit(0)
        return flagfiles.parse(argv[0], argv[1:])
    except flags.Error as error:
        flags.FLAGS.mark_as_parsed()  # absl insists on it before it calls main
        say(program, f"{_text(error)} (--help lists the flags)")
        return None
    except SystemExit:
        # Only the help flags end the program while it parses; having been helped is no failure.
        raise SystemExit(0) from None


def _help(main: Callable, names: Iterable[str]) -> str:
    """The page of --help."""
    chosen = [flags.FLAGS[name] for name in names if name == "method"]
    method = chosen[0].value if chosen and chosen[0].present else None
    return help_page.text(sys.modules[main.__module__].__doc__ or "", names, method)


def _configure(config_type: type, arguments: list[str]):
    name = getattr(config_type, "ARGUMENT", None)
    if name and len(arguments) > 1 and not flags.FLAGS[name].present:
        flags.FLAGS[name].parse(arguments.pop(1))
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]!r}; options start with --")
    if not flags.FLAGS["verbosity"].present:
        # absl raises it to INFO, where JAX reports every accelerator that is not there.
        logging.set_verbosity(logging.WARNING)
    _use_cache(flags.FLAGS["jax_cache_dir"].value)
    config = config_flags.parsed(config_type)
    written.require(config)
    return config


def given(names: Iterable[str] | None = None, *, without: tuple[str, ...]) -> list[str]:
    """The flags of the command line as it was parsed, --name=value: `names`, all of them when None,
    but those `without`."""
    chosen = map(flags.FLAGS.__getitem__, flags.FLAGS if names is None else names)
    present = {flag.name: flag for flag in chosen if flag.present and flag.name not in without}
    lines = [
        flag.serialize().splitlines() if isinstance(flag, flags.MultiFlag) else [flag.serialize()]
        for flag in present.values()
    ]
    return [line for of_one in lines for line in of_one]


def _use_cache(folder: str | None) -> None:
    """Sets JAX's compilation cache: private, because what is read from it is executed."""
    # The user's environment, or --jax_compilation_cache_dir, has the say before our default.
    if folder == "" or (folder is None and jax.config.jax_compilation_cache_dir):
        return
    try:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        path = pathlib.Path(folder or pathlib.Path(home) / "rankwise" / "xla")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        if folder is None:  # no reason to fail: it is only slower
            return
        raise
    jax.config.update("jax_compilation_cache_dir", str(path.resolve()))
    # Our programs are many and small; JAX would by default keep only those that took a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def _guarded(program: str, main: Callable[[], int | None]) -> int:
    try:
        with endable():
            status = main() or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader (head, less) has gone; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Terminated:
        message, status = "ended by SIGTERM", TERMINATED
    except KeyboardInterrupt:
        message, status = "interrupted", INTERRUPTED
    except MISTAKES as error:
        if flags.FLAGS.verbosity > 0:
            traceback.print_exc()
        message, status = _text(error), USAGE
    # Outside the handler, where the error and with it an unfinished progress bar are gone.
    say(program, message)
    return status


def say(program: str, message: str) -> None:
    """One line on stderr, as every message of a launcher."""
    print(f"{program}: {message}", file=sys.stderr, flush=True)


def _text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and len(error.args) == 1:
        text = str(error.args[0])  # str(error) would be the repr of the sentence
    else:
        text = str(error)
    return " ".join(text.split()) or type(error).__name__
