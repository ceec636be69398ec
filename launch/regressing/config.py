"""The flags of `python -m launch.regress`, and which of them go together."""

from __future__ import annotations

import dataclasses

from rankwise.options import option

RULES = ("best", "one_standard_error", "noise_floor")
SOLVERS = ("exact", "krylov", "alternating")


@dataclasses.dataclass(frozen=True)
class RegressConfig:
    """The table, its columns, the model, and where the result goes."""

    data: str | None = option(
        None, "the table: FILE.csv, .jsonl or .parquet, a sample in every row", path=True
    )
    targets: tuple[str, ...] = option((), "columns to be predicted, as a,b,c")
    inputs: tuple[str, ...] = option(
        (), "columns to predict them from; by default all that are not --targets"
    )
    rank: str = option("auto", "rank of the coefficients: a number, or auto for that of --rule")
    rule: str = option(
        "best",
        "of --rank=auto: the least held-out error, the least rank within one standard error of "
        "it, or the components above the noise",
        RULES,
    )
    folds: int = option(5, "parts of the rows, each held out once for the errors by rank", lower=2)
    ridge: float = option(0.0, "penalty on the squares of the coefficients", lower=0)
    intercept: bool = option(True, "fit a constant for every target")
    standardise: bool = option(
        False, "divide every column by its standard deviation before the fit"
    )
    solver: str = option("exact", "how the components of the rank are computed", SOLVERS)
    new: str | None = option(
        None, "a table of rows to predict, with the columns of the inputs", path=True
    )
    predictions: str | None = option(
        None,
        "where predictions of --new go, FILE.csv: the targets after the columns that are no inputs",
        written="file",
    )
    json: str | None = option(None, "write the result to this file, an object", written="file")
    workdir: str | None = option(
        None,
        "folder for coefficients, errors by rank and their picture; without it none are written",
        path=True,
    )
    overwrite: bool = option(False, "replace the result of an earlier run in --workdir")

    def __post_init__(self):
        if self.data is None:
            raise ValueError("--data is missing; allowed is FILE.csv, FILE.jsonl or FILE.parquet")
        if not self.targets:
            raise ValueError("--targets is missing; allowed are names of columns, as a,b,c")
        for name, columns in (("targets", self.targets), ("inputs", self.inputs)):
            repeated = [column for column in columns if columns.count(column) > 1]
            if repeated:
                raise ValueError(f"--{name} has {repeated[0]!r} twice; allowed is once")
        both = [column for column in self.inputs if column in self.targets]
        if both:
            raise ValueError(f"--inputs has {both[0]!r}, which is one of --targets; leave it out")
        if self.rank != "auto" and not (self.rank.isascii() and self.rank.isdigit()):
            raise ValueError(f"--rank={self.rank}; allowed are auto and integers >= 1")
        if self.rank != "auto" and int(self.rank) < 1:
            raise ValueError(f"--rank={self.rank}; allowed are auto and integers >= 1")
        if (self.new is None) != (self.predictions is None):
            raise ValueError("give --new and --predictions together, or none of them")
