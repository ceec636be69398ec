"""What `launch.evaluate` scores: the adapter of a run, or one in the format of PEFT."""

from __future__ import annotations

import pathlib

from finetune import models, peft
from finetune.tasks import class_names
from launch.scoring import run_rows
from launch.scoring.config import EvaluateConfig, of_run
from launch.scoring.run_rows import AnyTask
from launch.training import classes as run_classes
from launch.training import problem
from launch.training.problem import Problem


def rows_of(config: EvaluateConfig, task: AnyTask) -> str:
    """The split to score where none is given: that of a file, else that which training scores."""
    whole = config.data_dir is not None and pathlib.Path(config.data_dir).is_file()
    return next(iter(task.splits)) if whole and len(task.splits) == 1 else task.evaluation


def note_of_rows(config: EvaluateConfig, task: AnyTask, split: str, known: dict) -> str:
    """What has to be said of rows that a run knew; "" of others."""
    if config.workdir is None or config.data_dir is None:
        return run_rows.changed(task, split, known)
    return run_rows.included(task, split, known, pathlib.Path(config.workdir), config.data_dir)


def load(config: EvaluateConfig) -> tuple[Problem, dict, dict, dict]:
    """The problem, the changes of its network's modules, its head, and the rows that it knew."""
    test = (config.split or "").startswith("test")
    if config.workdir is None:
        classes = class_names.of_folder(config.adapter) or problem.classes_of_model(config)
        base = problem.load(config, test=test, classes=classes)
        folder = models.resolve(config.base(), revision=config.revision)
        sizes = models.read_config(folder, labels=base.task.num_labels, pooling=config.head_pooling)
        of_peft = peft.load(config.adapter, sizes)
        made_for = of_peft.config.base
        if made_for and pathlib.Path(made_for).name != pathlib.Path(config.base()).name:
            print(f"Note: --adapter names {made_for!r} as its base; --model is {config.base()!r}")
        drawn = sorted(set(base.network.drawn) - set(of_peft.heads))
        if drawn and not config.allow_drawn:
            raise ValueError(
                f"neither --adapter={config.adapter} nor --model={config.base()} has "
                f"{', '.join(drawn)}: drawn at random, scores would mean nothing; save them with "
                "the adapter (PEFT's modules_to_save), or say --allow_drawn"
            )
        return base, of_peft.adapters, of_peft.heads, {}
    run = pathlib.Path(config.workdir)
    earlier = of_run(run / "config.json", config)
    base = problem.load(earlier, test=test, classes=run_classes.of_run(run))
    adapter = problem.adapter_of(run, earlier, base)
    return base, adapter.modules, adapter.head, adapter.about.get("data", {})
