"""The flags of `python -m launch.train`, by concern; None leaves the choice to the code."""

from __future__ import annotations

from absl import flags

from finetune.methods import NAMES, OPTIONS
from finetune.training.optimisers import OPTIMISERS, SCHEDULES
from launch import distributed, help_page, problem
from launch.path_flags import define_path

DEFINE = {
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    bool: flags.DEFINE_bool,
    str: flags.DEFINE_string,
    tuple: flags.DEFINE_list,
}


def define_flags() -> None:
    """The flags, in the order of `TrainConfig`."""
    problem.define_flags()
    with help_page.group("method"):
        _of_method()
    with help_page.group(help_page.METHODS):
        _of_options()
    with help_page.group("optimiser"):
        _of_optimiser()
    with help_page.group("run"):
        _of_run()


def _of_method() -> None:
    flags.DEFINE_string("modules", None, "pattern of adapted modules; else all but head and pooler")
    flags.DEFINE_enum("method", "adapad", NAMES, "how it is learnt")


def _of_options() -> None:
    for one in OPTIONS.values():
        if one.choices:
            flags.DEFINE_enum(one.name, None, one.choices, one.text)
        else:
            DEFINE[one.kind](one.name, None, one.text)
        flags.FLAGS[one.name].texts = one.texts


def _of_optimiser() -> None:
    flags.DEFINE_enum("optimiser", "adamw", OPTIMISERS, "of adapters and head")
    flags.DEFINE_float("learning_rate", 3e-3, "the largest one", lower_bound=0)
    flags.DEFINE_float("head_learning_rate", None, "of the head, else the same", lower_bound=0)
    flags.DEFINE_enum("schedule", "linear", SCHEDULES, "of the learning rate")
    flags.DEFINE_float("warmup", 0.06, "steps, or below 1 a share of them", lower_bound=0)
    flags.DEFINE_integer(
        "renew_every", None, "steps after which moments and schedule begin anew", lower_bound=1
    )
    flags.DEFINE_float("weight_decay", 0.0, "decoupled", lower_bound=0)
    flags.DEFINE_float("clip", 1.0, "largest gradient norm, 0 for none", lower_bound=0)
    flags.DEFINE_bool("dropout", True, "use the model's own dropout")
    flags.DEFINE_float("adapter_dropout", 0.0, "on the input of adapters", 0, 0.99)


def _of_run() -> None:
    flags.DEFINE_integer("steps", None, "optimiser steps", lower_bound=1)
    flags.DEFINE_float("epochs", None, "instead of --steps; 10", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "rows per step", lower_bound=1)
    flags.DEFINE_integer("accumulate", 1, "parts that a batch is cut into", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "of adapters, dropout and order", 0, 2**32 - 1)
    flags.DEFINE_integer("evaluate_every", None, "steps; a tenth of the run", lower_bound=1)
    flags.DEFINE_integer("checkpoint_every", None, "steps; a tenth of the run", lower_bound=1)
    flags.DEFINE_integer("log_every", 10, "steps", lower_bound=1)
    flags.DEFINE_integer("eval_batch_size", 128, "rows per pass", lower_bound=1)
    flags.DEFINE_bool("remat", False, "compute layers again for the gradient: takes less memory")
    flags.DEFINE_list("mesh", [], "devices, as level:2,data:2 or shard:4; else one")
    flags.DEFINE_string("distributed", None, f"join other processes: {distributed.ALLOWED}")
    define_path("workdir", None, "folder for adapter, curves, checkpoints and result")
    flags.DEFINE_bool("overwrite", False, "start anew: delete the files of a run in --workdir")
