"""The flags of `python -m launch.predict`."""

from __future__ import annotations

import dataclasses
import pathlib

from launch.training import one_pass
from rankwise.options import option

SUFFIXES = (".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Which run predicts, which rows, and where they go."""

    workdir: str | None = option(
        None, "folder of a finished run of launch.train on texts; has to be given", path=True
    )
    data: str | None = option(
        None,
        "file of rows, .csv, .jsonl or .parquet, with the run's columns of text, which are context "
        "and question of SQuAD, or .json in its published form; has to be given",
        path=True,
    )
    output: str | None = option(
        None,
        "write the rows with their predictions to this file, .csv or .jsonl; has to be given",
        written="file",
    )
    eval_batch_size: int | None = option(None, one_pass.TEXT, lower=1)

    def __post_init__(self):
        missing = [n for n in ("workdir", "data", "output") if getattr(self, n) is None]
        if missing:
            raise ValueError(f"--{missing[0]} is needed, as are --workdir, --data and --output")
        output = pathlib.Path(self.output)
        if output.suffix not in SUFFIXES:
            raise ValueError(
                f"--output is {self.output!r}; allowed suffixes are {', '.join(SUFFIXES)}"
            )
