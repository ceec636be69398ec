"""Reduced-rank regression of a table: several targets from all other columns, with a rank chosen.

python -m launch.regress --data=FILE.csv --targets=a,b,c --workdir=runs/table
python -m launch.regress --data=FILE.csv --targets=a,b --rule=one_standard_error --standardise
python -m launch.regress --data=FILE.parquet --targets=a,b --inputs=s,t,u --rank=2 --ridge=0.1
python -m launch.regress --data=FILE.csv --targets=a,b --new=NEW.csv --predictions=FILE.csv

Every row is a sample. The errors by rank are on rows that the fit has not seen, in squares of the
targets (of their standard deviations with --standardise); rank 0 predicts the mean of each target.
"""

from __future__ import annotations

import pathlib

from launch.regressing.config import RegressConfig
from launch.shell import app


def main(config: RegressConfig) -> None:
    """Fits the regression, prints the errors by rank and writes the files."""
    # Not for a --help or a bad flag: scikit-learn and matplotlib take seconds.
    from launch.regressing.run import regress

    earlier = None if config.workdir is None else pathlib.Path(config.workdir) / "result.json"
    if earlier is not None and earlier.exists() and not config.overwrite:
        raise ValueError(
            f"--workdir={config.workdir} holds an earlier result; allowed are another folder, or "
            "--overwrite"
        )
    regress(config)


if __name__ == "__main__":
    app.run(main, RegressConfig)
