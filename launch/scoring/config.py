"""The flags of `python -m launch.evaluate`, and the problem of a run that they replace parts of."""

from __future__ import annotations

import dataclasses
import pathlib

from absl import flags

from finetune.tasks.registry import SPANS
from launch.shell import config_flags
from launch.training import one_pass, problem_config
from launch.training.problem_config import ProblemConfig
from rankwise.options import option

# What of a run's problem an evaluation may replace; the rest belongs to what was learnt.
REPLACED = (
    *("data_dir", "texts", "label", "heldout", "train_rows", "eval_rows", "max_length", "cut_long"),
    *("model", "revision", "dtype"),
    *("likelihood", "target_length", "samples", "temperature", "run_generated_code"),
    *SPANS,
)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(ProblemConfig):
    """What is scored, and where it goes; with --workdir the problem is that of the run."""

    GROUP = "what is scored, and where it goes"

    workdir: str | None = option(None, "folder of a finished run of launch.train", path=True)
    adapter: str | None = option(
        None, "folder of an adapter in the format of PEFT, in place of --workdir", path=True
    )
    split: str | None = option(
        None, "split of the data to score; by default the one that training scores"
    )
    eval_batch_size: int | None = option(None, one_pass.TEXT, lower=1)
    allow_drawn: bool = option(False, "score an --adapter on parameters drawn at random too")
    predictions: str | None = option(
        None,
        "write the predictions to this file, .csv or .jsonl, of SQuAD also .json as its published "
        "scoring script reads it",
        written="file",
    )
    probabilities: bool = option(
        False, "write the probability of every class into the file of --predictions too"
    )
    submission: str | None = option(
        None, "write the file that GLUE's server takes into this folder", path=True
    )
    json: str | None = option(None, "write the scores to this file, an object", written="file")

    def __post_init__(self):
        if (self.workdir is None) == (self.adapter is None):
            raise ValueError("exactly one of --workdir and --adapter is needed")
        if self.probabilities and self.predictions is None:
            raise ValueError("--probabilities is for the file of --predictions, which is not given")


def of_run(path: pathlib.Path, config: EvaluateConfig) -> ProblemConfig:
    """The problem of a run, with what the command line replaces.

    Raises:
      ValueError: a file of another version, or a flag that would change what the run has learnt.
    """
    there, names = problem_config.of_run(path), config_flags.names(ProblemConfig)
    earlier = {name: getattr(there, name) for name in names}
    replaced = {name: getattr(config, name) for name in names if flags.FLAGS[name].present}
    for name, value in replaced.items():
        if name not in REPLACED and value != earlier[name]:
            raise ValueError(
                f"--{name} is {value!r}; allowed is {earlier[name]!r}, as in {path}: only "
                f"{', '.join(f'--{other}' for other in REPLACED)} can be replaced"
            )
    whole = problem_config.WHOLE if "data_dir" in replaced else {}
    return dataclasses.replace(there, **(whole | replaced))
