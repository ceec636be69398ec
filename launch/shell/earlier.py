"""What a work directory holds of an earlier command: going on from it, and starting anew."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from rankwise.files import to_json

CHECKPOINTS = "checkpoints"
SAVED = "run.npz"
FILES = ("metrics.jsonl", "result.json", "adapter.safetensors", "components.safetensors", SAVED)
PICTURES = ("curves", "ranks", "convergence", "completions")
REMEDIES = "--overwrite starts anew in this folder, or choose another --workdir"


def same_run(
    folder: str | None,
    config: Any,
    free: tuple[str, ...],
    former: Mapping[str, Any] | None = None,
) -> bool:
    """Whether `folder` holds an earlier run of this configuration.

    A command that ended before it saved anything has left no run, whatever its flags were.

    Args:
      folder: the work directory, or None.
      config: the frozen dataclass of flags.
      free: flags that may differ.
      former: flags of which earlier versions do not say that they had these values.

    Raises:
      ValueError: the folder holds a run of another configuration, or files of something else;
        nothing is overwritten.
    """
    if folder is None or not require_own(folder, config) or not holds_run(folder):
        return False
    earlier, asked = _read(folder), to_json(config)
    # What an earlier version did not know is as good as not set.
    earlier = {name: earlier.get(name, None if value else value) for name, value in asked.items()}
    there, here = {**(former or {}), **_flags(earlier)}, _flags(asked)
    names = [n for n in {**here, **there} if n not in free and there.get(n) != here.get(n)]
    if names:
        differences = "; ".join(
            _difference(name, there.get(name), here.get(name)) for name in names
        )
        raise ValueError(
            f"{folder} holds a run {differences}; repeat its flags to go on with it, {REMEDIES}"
        )
    return True


def require_own(folder: str | pathlib.Path | None, config: Any) -> bool:
    """Whether `folder` has a config.json, which then is one of the same command.

    Raises:
      ValueError: it is something else's, a model's for instance, and would be overwritten.
    """
    if folder is None or not (pathlib.Path(folder) / "config.json").exists():
        return False
    there, here = set(_read(folder)), {field.name for field in dataclasses.fields(config)}
    if not (there <= here or here <= there):
        raise ValueError(
            f"{folder}/config.json is of something else than this command; choose another --workdir"
        )
    return True


def holds_run(folder: str | pathlib.Path) -> bool:
    """Whether there is anything to go on from, or to lose."""
    folder = pathlib.Path(folder)
    names = ("result.json", SAVED)
    return any((folder / name).exists() for name in names) or any(
        path.name.isdecimal() for path in _checkpoints(folder)
    )


def clear(folder: str | pathlib.Path) -> None:
    """Deletes the files of an earlier run, and nothing else."""
    folder = pathlib.Path(folder)
    pictures = [f"{name}{ending}" for name in PICTURES for ending in (".png", ".svg")]
    for name in (*FILES, *pictures):
        (folder / name).unlink(missing_ok=True)
    for path in _checkpoints(folder):
        shutil.rmtree(path)
    with contextlib.suppress(OSError):  # missing, or with files of somebody else
        (folder / CHECKPOINTS).rmdir()


def _checkpoints(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Those of a training run, whole ones and ones that were cut short."""
    place = folder / CHECKPOINTS
    for path in list(place.iterdir()) if place.is_dir() else []:
        if path.is_dir() and path.name.partition(".")[0].isdecimal():
            yield path


def _read(folder: str | pathlib.Path) -> dict[str, Any]:
    path = pathlib.Path(folder) / "config.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not a configuration; choose another --workdir")
    return record


def _flags(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flag -> value, those of a group beside the others."""
    alone = {name: value for name, value in config.items() if not isinstance(value, dict)}
    grouped = [value for value in config.values() if isinstance(value, dict)]
    return alone | {name: value for group in grouped for name, value in group.items()}


def _difference(name: str, there: Any, here: Any) -> str:
    then = f"without --{name}" if there is None else f"with --{name}={_shown(there)}"
    return f"{then}, {'not given here' if here is None else f'not {_shown(here)}'}"


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
