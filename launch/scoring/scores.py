"""Predictions of a split: whether they can be made as asked for, their scores, and their files."""

from __future__ import annotations

from finetune.tasks import predictions
from launch.scoring.config import EvaluateConfig
from launch.scoring.run_rows import AnyTask
from launch.training import classes as run_classes


def require(config: EvaluateConfig, task: AnyTask, split: str) -> None:
    """Refuses files that the task cannot fill, and a split without labels where only scores are
    wanted.

    Raises:
      ValueError: either.
    """
    if config.submission is not None:
        predictions.require_submission(task, split)
    if config.predictions is not None:
        predictions.require_suffix(config.predictions, task)
    if config.probabilities and not run_classes.names(task):
        raise ValueError(f"--probabilities is for classes; --task={config.task} has none here")
    if config.predictions is None and config.submission is None:
        if task.refusal:
            raise ValueError(task.refusal)
        task.labels(split)  # which raises where there is nothing to score


def score(task: AnyTask, split: str, predicted) -> dict:
    """Metrics and those of the majority class; empty for a split without labels."""
    rows = len(task.split(split))
    record = {"task": task.name, "split": split, "rows": rows, "note": task.note}
    record["classes"] = list(run_classes.names(task))
    record["positive_class"] = getattr(task, "positive_class", None)
    if task.split(split).labels is None or task.refusal:
        return {**record, "scores": {}, "majority": {}}
    scores = task.score(predicted, task.labels(split))
    return {**record, "scores": scores, "majority": task.majority(split)}


def rows(record: dict) -> list[tuple]:
    """Lines of the printed table."""
    kinds = ("scores", "majority") if record["scores"] else ()
    return [(kind, *record[kind].values()) for kind in kinds]
