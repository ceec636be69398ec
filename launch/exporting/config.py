"""The flags of `python -m launch.export`."""

from __future__ import annotations

import dataclasses

from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Which run, and how and where it is written."""

    workdir: str | None = option(
        None, "folder of a finished run of launch.train; has to be given", path=True
    )
    format: str = option(
        "peft", "an adapter as PEFT loads it, or the whole model with it merged", ("peft", "merged")
    )
    output: str | None = option(None, "new folder for the result; has to be given", written="new")
    truncate: float | None = option(
        None,
        "of --format=peft: cut dense changes to the least rank of this relative error; by default "
        "nothing is cut",
        lower=0,
        upper=0.99,
    )

    def __post_init__(self):
        if not (self.workdir and self.output):
            raise ValueError("--workdir and --output are needed")
        if self.truncate is not None and self.format != "peft":
            raise ValueError("--truncate is for --format=peft; merged is exact")
