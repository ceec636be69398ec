"""Claims on random instances: which ones, their rows, and what is printed and written of them."""

from __future__ import annotations

import dataclasses
import re
import time

from launch.evidence.rows import checked, processes
from launch.shell import waiting
from launch.shell.config_flags import LARGEST_SEED
from launch.shell.outputs import Workdir
from launch.shell.tables import table
from linear_theory import Claim, Row, registry
from rankwise.files import write_json
from rankwise.options import option

# The share of the control stands beside the verdict on it; the last is for the tests.
KEYS = Row._fields[:-2]


@dataclasses.dataclass(frozen=True)
class CheckConfig:
    """The flags of `python -m launch.check`."""

    claims: str = option("", "regular expression: check the claims whose name contains it")
    list: bool = option(False, "print the claims and check nothing")
    trials: int = option(256, "number of random instances per claim", lower=1)
    seed: int = option(0, "seed of all randomness", lower=0, upper=LARGEST_SEED)
    jobs: int | None = option(
        None, "processes that share the claims; by default one per CPU core", lower=1
    )
    json: str | None = option(
        None, "write the whole table to this file, a list of objects", written="file"
    )
    workdir: str | None = option(
        None,
        "folder for config.json, metrics.jsonl and result.json; without it none are written",
        path=True,
    )
    report: str | None = option(
        None, "folder for the table as a page with figures, evidence.md", path=True
    )


def check_claims(config: CheckConfig, claims: list[Claim]) -> int:
    """Checks the claims, prints and writes; returns the exit status."""
    workdir = Workdir(config.workdir, config)
    started = time.perf_counter()
    rows = []
    jobs = config.jobs or processes(len(claims))
    for row in waiting.progress(
        checked(claims, config.seed, config.trials, jobs), len(claims), "claims"
    ):
        rows.append(row)
        workdir.metric(dict(zip(KEYS, rows[-1], strict=False)))
    order = [claim.name for claim in claims]
    rows.sort(key=lambda row: order.index(row.claim))
    records = [dict(zip(KEYS, row, strict=False)) for row in rows]
    write_json(config.json, records)
    workdir.result({"seconds": time.perf_counter() - started, "rows": records})
    seconds = time.perf_counter() - started
    if config.report is not None:
        from launch.evidence import page as evidence  # with the networks behind its figures

        arguments = f"--trials={config.trials} --seed={config.seed}"
        arguments += f" --claims='{config.claims}'" if config.claims else ""
        evidence.write(config.report, claims, rows, f"python -m launch.check {arguments}")
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
