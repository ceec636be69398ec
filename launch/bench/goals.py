"""What is wanted of the rows of all suites, and the page that holds one against the other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from launch.bench.rows import BOUND, BOUND_SECONDS
from launch.shell.tables import table

GOAL = "goal"
"""The competitor of a row that is held against a number of seconds."""


def ratio(row: Mapping[str, Any]) -> float:
    """The competitor's time over ours: infinite where it did not arrive, 0 where we did not."""
    if row["seconds_ours"] is None:
        return 0.0
    return math.inf if row["ratio"] is None else row["ratio"]


def memory(row: Mapping[str, Any]) -> float:
    """The competitor's bytes over ours."""
    return row["bytes_competitor"] / row["bytes_ours"]


def closeness(row: Mapping[str, Any]) -> float:
    """How often the error goes into 1e-5."""
    return 1e-5 / row["error_ours"] if row["error_ours"] else math.inf


class Goal(NamedTuple):
    """A promise about the worst of some rows.

    Attributes:
      text: what is promised, as the page says it.
      suite: whose rows; "" of a promise that no suite measures.
      pattern: regular expression, found in "case | ours | competitor" of its rows.
      least: of the `value` of every such row.
      value: of a row, larger is better.
      otherwise: why there may be no such row.
      bound: pattern of the suite's rows beside what bounds its own; rows may also have their own,
        see `rows.bounded`.
    """

    text: str
    suite: str
    pattern: str
    least: float = 1.0
    value: Callable[[Mapping[str, Any]], float] = ratio
    otherwise: str = "no such row"
    bound: str = ""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Those that it speaks of."""
        return self._fitting(self.pattern, rows)

    def explained(self, worst: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
        """How much of our seconds in a row is what was measured to be their bound; "" if none."""
        if self.value is not ratio:  # which speaks of something else than seconds
            return ""
        if self.bound:
            beside = [row for row in self._fitting(self.bound, rows) if row["seconds_competitor"]]
            found = [(row["competitor"], row["seconds_competitor"]) for row in beside]
        else:
            found = [(worst[BOUND], worst[BOUND_SECONDS])] if BOUND in worst else []
        if not found or not worst["seconds_ours"]:
            return ""
        name, seconds = max(found, key=lambda pair: pair[1])
        return f"{name}: {seconds:.3g} of {_seconds(worst['seconds_ours'])}"

    def _fitting(self, pattern: str, rows: Sequence) -> list[Mapping[str, Any]]:
        keys = "case", "ours", "competitor"
        return [
            row
            for row in rows
            if row["suite"] == self.suite
            and re.search(pattern, " | ".join(row[key] for key in keys))
        ]


class Verdict(NamedTuple):
    """A line of the page: the worst row's value beside what is wanted of it, and what was measured
    to bound it where it misses."""

    goal: str
    wanted: str
    measured: str
    verdict: str
    worst: str
    bound: str


FAR = "r = (64|256)"
CASES = "(512|1024|2048|4096) x"
"""Of the decompose suite, those that a goal speaks of."""
COMPETITORS = (
    *("randomized_svd", "PROPACK", "LOBPCG", "torch.svd_lowrank", "dask svd_compressed", "PRIMME"),
)
NOT_INSTALLED = "the package {} is not installed"
NO_DASK = NOT_INSTALLED.format("dask")
STEP = r"\| LoRA \| (products|memory) alone"
GOALS = (
    Goal("import deflation", "first", "^import deflation"),
    Goal("launch.check --help", "first", "^launch.check --help"),
    Goal("table of claims: its first row", "first", "^first row of the table"),
    Goal("table of claims, nothing compiled before", "first", "^table of claims, cold"),
    Goal("table of claims, programs kept from before", "first", "^table of claims, warm"),
    Goal("first parallel() of a shape", "first", "^first call"),
    Goal("a call with next to nothing to compute", "first", "^overhead"),
    Goal("small problems: exact() beside numpy's SVD", "first", r"^small.*\| exact"),
    Goal("residual 1e-3, r >= 64: randomized_svd", "decompose", f"{FAR}, res.*randomized_svd", 3.0),
    Goal("components, r >= 64: randomized_svd", "decompose", f"{FAR}, com.*randomized_svd", 3.0),
    Goal("residual, r >= 64: PROPACK", "decompose", f"{FAR}, res.*PROPACK"),
    Goal("components, r >= 64: PROPACK", "decompose", f"{FAR}, com.*PROPACK"),
    Goal("512 x 512, r = 8: randomized_svd", "decompose", "512, r = 8, .*randomized_svd"),
    Goal("512 x 512, r = 8: PROPACK", "decompose", "512, r = 8, .*PROPACK"),
    Goal("r >= 64: LOBPCG of jax", "decompose", f"{FAR}, .*LOBPCG"),
    *(
        Goal(f"r >= 64: {name}", "decompose", f"{FAR}, .*{name}", otherwise=reason)
        for name, reason in (
            ("torch.svd_lowrank", NOT_INSTALLED.format("torch")),
            ("dask svd_compressed", NO_DASK),
            ("PRIMME", NOT_INSTALLED.format("primme")),
            ("SLEPc", "slepc4py has no wheels, and PETSc takes too long to build"),
        )
    ),
    Goal("2 processes from disk beside dask", "disk", "later calls", otherwise=NO_DASK),
    Goal("the same, with all that is compiled", "disk", "first call", otherwise=NO_DASK),
    Goal("memory of such a process beside dask's", "disk", "first call", 1.0, memory, NO_DASK),
    Goal("a round beside its products", "decompose", "^a round", 0.7),
    Goal("moments on the device beside their products", "moments", "its products", 0.6),
    Goal("moments: 1e-5 over their distance from QR", "moments", "QR", 1.0, closeness),
    Goal("LoRA step beside PEFT's", "finetune", r"^a step.*\| LoRA \| PEFT LoRA", 1.3, bound=STEP),
    Goal("memory of it beside PEFT's", "finetune", r"^a step.*\| LoRA \| PEFT LoRA", 1.0, memory),
    *(
        Goal(
            f"LoRA step of a language model beside PEFT's, {dtype}",
            "finetune",
            rf"^a language model's step, {dtype} \| LoRA \| PEFT LoRA",
            1.3,
            otherwise="--language_model=FILE measures it",
        )
        for dtype in ("float32", "bfloat16")
    ),
    Goal("AdaPaD's default over a run, beside LoRA", "finetune", r"a whole run \| LoRA$", 0.8),
    Goal("AdaPaD --phase=parallel beside LoRA", "finetune", r"AdaPaD parallel.* \| LoRA$", 0.8),
    Goal("a token beside reading the weights once", "generation", "^a token", 0.7),
    *(
        Goal(name, "", ".", otherwise=reason)
        for name, reason in (
            ("all suites on an accelerator", "--suite=accelerator --size=full where there is one"),
            (".ci/run in 18 minutes", "time .ci/run, alone on the machine"),
        )
    ),
)


def verdicts(rows: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> list[Verdict]:
    """One of every goal.

    Args:
      rows: of all suites.
      reasons: why a suite did not run, by its name.
    """
    return [_verdict(goal, rows, reasons) for goal in GOALS]


def page(rows: Sequence[Mapping[str, Any]], reasons: Mapping[str, str]) -> str:
    """The goals as a table, and how many are reached."""
    lines = verdicts(rows, reasons)
    passed = sum(line.verdict == "PASS" for line in lines)
    unknown = sum(line.verdict == "not measured" for line in lines)
    text = table(Verdict._fields, lines)
    return f"{text}\n{passed} of {len(lines)} goals reached, {unknown} not measured"


def _verdict(goal: Goal, every: Sequence, reasons: Mapping[str, str]) -> Verdict:
    rows = goal.rows(every)
    if not rows:
        reason = reasons.get(goal.suite, goal.otherwise)
        return Verdict(goal.text, _factor(goal.least), "-", "not measured", reason, "")
    worst = min(rows, key=goal.value)
    value = goal.value(worst)
    missing = goal.least / value if value else math.inf
    verdict = "PASS" if missing <= 1 else f"{missing:.3g} x missing"
    if worst["competitor"] == GOAL:
        wanted, measured = _seconds(worst["seconds_competitor"]), _seconds(worst["seconds_ours"])
    else:
        wanted, measured = _factor(goal.least), _factor(value)
    bound = goal.explained(worst, every) if missing > 1 else ""
    return Verdict(goal.text, wanted, measured, verdict, worst["case"], bound)


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _factor(value: float) -> str:
    return "all" if math.isinf(value) else f"{value:.3g} x"
