"""The flags of `python -m launch.benchmark`."""

from __future__ import annotations

import dataclasses
import re

from rankwise.options import option

SUITES = (
    "decompose",
    "finetune",
    "claims",
    "scaling",
    "status",
    "adapters",
    "first",
    "moments",
    *("generation", "disk", "accelerator", "all"),
)
NO_MODEL = "--model is needed: a folder with a BERT; or --language_model"


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """What is timed, on which sizes, and where the rows go."""

    suite: str = option("finetune", "name of the suite of programs that are timed", SUITES)
    model: str | None = option(
        None,
        "folder of a pretrained BERT (finetune, accelerator), or of any weights (decompose)",
        path=True,
    )
    language_model: str | None = option(
        None,
        "finetune: folder or GGUF file of a language model whose step of LoRA is timed too, "
        "in float32 and bfloat16",
        path=True,
    )
    data_dir: str | None = option(
        None, "decompose: folder that holds the file mnist.npz", path=True
    )
    cases: str = option("", "decompose: regular expression, only cases whose name contains it")
    batch_size: int | None = option(
        None, "finetune: rows per step; by default that of --size", lower=1
    )
    length: int | None = option(
        None, "finetune: tokens per row; by default that of --size", lower=1
    )
    rank: int = option(2, "finetune: components per module", lower=2)
    dtype: str = option("float32", "finetune: type of the computation", ("float32", "bfloat16"))
    repeats: int = option(9, "timed repetitions of each program", lower=5)
    size: str = option("quick", "size of the problems", ("quick", "full"))
    json: str | None = option(
        None, "write the rows to this file, a list of objects", written="file"
    )
    figure: str | None = option(
        None, "decompose: draw the rows into PATH.png and PATH.svg", path=True
    )

    def __post_init__(self):
        if self.suite == "finetune" and self.model is None and self.language_model is None:
            raise ValueError(NO_MODEL)
        try:
            re.compile(self.cases)
        except re.error as error:
            raise ValueError(
                f"cases is {self.cases!r}; allowed is a regular expression ({error})"
            ) from None
