"""Classes with probabilities, numbers, or answers, for the rows of a file, by a run of training.

python -m launch.predict --workdir=runs/reviews --data=new.csv --output=predicted.csv
python -m launch.predict --workdir=runs/squad --data=questions.json --output=answers.jsonl

The file needs the run's columns of text, which are context and question of an encoder's on SQuAD.
It is taken whole and in its order, labels are not read, and all of its columns are kept; beside
them stand prediction and, of classes, prob_CLASS.
"""

from __future__ import annotations

import pathlib

from launch.predicting import rows
from launch.predicting.config import PredictConfig
from launch.shell import app, waiting
from launch.training import classes as run_classes
from launch.training import one_pass, problem, problem_config


def main(config: PredictConfig) -> None:
    """Predicts every row and writes the file."""
    run = pathlib.Path(config.workdir)
    earlier = problem_config.of_run(run / "config.json")
    classes = run_classes.of_run(run)
    settings = rows.problem_of(earlier, config.data, classes)
    table = rows.read(config.data, classes, questions=settings.of_spans)
    with waiting.stage("loading data and model"):
        base = problem.load(settings, classes=classes)
        adapter = problem.adapter_of(run, settings, base)
    task, split = base.task, next(iter(base.task.splits))
    size = one_pass.rows(config.eval_batch_size, config.workdir)
    answers = one_pass.answers(base, adapter.modules, adapter.head, split, size)
    rows.write(config.output, table, classes, rows.predicted(task, answers))
    print(f"{len(task.split(split))} rows of {config.data}: {config.output}")


if __name__ == "__main__":
    app.run(main, PredictConfig)
