"""Hold every theorem against random instances and print the bound beside the observation.

python -m launch.check                                              all claims
python -m launch.check --claims='^cascade' --trials=1000 --json=evidence.json
python -m launch.check --report=evidence                            a page with figures
python -m launch.check --list                                       what there is to check

Exit status 0: every claim held and every control, its neighbour that must fail, was caught.
1: some claim was violated or had no instance that meets its premises, or a control was not caught.
2: the command line was wrong.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time

import jax
from absl import flags

from launch.shell import app, earlier
from launch.shell.locks import one_writer
from launch.shell.outputs import Workdir
from launch.shell.path_flags import define_path
from launch.shell.tables import table
from linear_theory import Claim, Row, check, registry
from rankwise.files import require_writable, write_json

# The share of the control stands beside the verdict on it; the last is for the tests.
KEYS = Row._fields[:-2]
LISTED = ("name", "kind", "status", "source", "statement")


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """The flags of `python -m launch.check`."""

    claims: str
    list: bool
    trials: int
    seed: int
    json: str | None
    workdir: str | None
    report: str | None


def define_flags() -> None:
    """One flag per field of `CheckConfig`."""
    flags.DEFINE_string("claims", "", "regular expression: check the claims whose name contains it")
    flags.DEFINE_bool("list", False, "print the claims and check nothing")
    flags.DEFINE_integer("trials", 256, "random instances per claim", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of all randomness", lower_bound=0, upper_bound=2**32 - 1)
    define_path("json", None, "file for the whole table, a list of objects")
    define_path("workdir", None, "folder for config, metrics and result")
    define_path("report", None, "folder for the table as a page with figures, evidence.md")


def main(config: CheckConfig) -> int:
    """Checks what was asked for, or lists it; returns the exit status."""
    claims = select(config.claims)
    if config.list:
        print(table(LISTED, [[getattr(claim, name) for name in LISTED] for claim in claims]))
        return 0
    require_writable(config.json)
    with contextlib.ExitStack() as held:
        places = {config.workdir: "--workdir", config.report: "--report"}
        for folder, flag in places.items():  # one that is both is held once
            held.enter_context(one_writer(folder, flag))
        earlier.require_own(config.workdir, config)
        return checked(config, claims)


def checked(config: CheckConfig, claims: list[Claim]) -> int:
    """Checks the claims, prints and writes; returns the exit status."""
    workdir = Workdir(config.workdir, config)
    started = time.perf_counter()
    rows = []
    for claim in app.progress(claims, len(claims), "claims"):
        try:
            rows.append(check(claim, jax.random.key(config.seed), config.trials))
        except Exception as error:  # a defect of the claim's, not a mistake of the user's
            raise RuntimeError(f"claim {claim.name} could not be checked") from error
        workdir.metric(dict(zip(KEYS, rows[-1], strict=False)))
    records = [dict(zip(KEYS, row, strict=False)) for row in rows]
    write_json(config.json, records)
    workdir.result({"seconds": time.perf_counter() - started, "rows": records})
    seconds = time.perf_counter() - started
    if config.report is not None:
        from launch.evidence import page as evidence  # with the networks behind its figures

        given = f"--trials={config.trials} --seed={config.seed}"
        given += f" --claims='{config.claims}'" if config.claims else ""
        evidence.write(config.report, claims, rows, f"python -m launch.check {given}")
    summary(rows, seconds)
    return 0 if all(row.holds for row in rows) else 1


def select(pattern: str) -> list[Claim]:
    """The claims whose name contains the regular expression, in the order of their sources."""
    try:
        claims = [claim for name, claim in registry().items() if re.search(pattern, name)]
    except re.error as error:
        raise ValueError(f"--claims={pattern} is no regular expression: {error}") from error
    if not claims:
        raise ValueError(f"--claims={pattern} is in no claim's name; --list prints them")
    return claims


def summary(rows: list[Row], seconds: float) -> None:
    """Prints the table, what failed, and the summary."""
    lines = []
    for row in rows:
        caught = f"{'yes' if row.control_caught else 'NO'} {row.control_share:4.0%}"
        lines.append(
            row._replace(control_caught=caught, seconds=round(row.seconds, 1))[: len(KEYS)]
        )
    print(table([key.replace("_", " ") for key in KEYS], lines))
    print(*(f"FAILED: {row.claim}\n" for row in rows if not row.holds), sep="", end="")
    violations, caught = sum(r.violations for r in rows), sum(r.control_caught for r in rows)
    print(f"{len(rows)} claims, {violations} violations, {caught} controls caught, {seconds:.1f} s")


if __name__ == "__main__":
    app.run(main, define_flags, CheckConfig)
