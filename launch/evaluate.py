"""Score a saved adapter: of a finished `launch.train` run, or in the format of PEFT.

python -m launch.evaluate --workdir=runs/adapad
python -m launch.evaluate --workdir=runs/table --data_dir=new.csv --predictions=new.jsonl
python -m launch.evaluate --workdir=runs/cola --split=test --submission=runs/glue
python -m launch.evaluate --workdir=runs/reviews --data_dir=new --split=test \\
    --predictions=new.csv --probabilities
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=mrpc --data_dir=data/glue --model=MODEL
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=humaneval --data_dir=data --model=MODEL \\
    --max_length=512 --run_generated_code --predictions=completions.jsonl

Data that are given with --workdir are taken whole, unless --heldout, --train_rows or --eval_rows
are given too; other flags that are given replace those of the run, or are refused where they belong
to it. New rows need neither labels nor a training split: a run keeps the names of its classes. An
adapter of PEFT's own has them in a config.json beside it, or its base model has.

Of a language model --predictions takes what it has written; without --run_generated_code these can
be had of humaneval too, and are not scored.
"""

from __future__ import annotations

from finetune.tasks import predictions
from launch.scoring import scores
from launch.scoring.config import EvaluateConfig
from launch.scoring.loading import load, note_of_rows, rows_of
from launch.shell import app, waiting
from launch.shell.tables import table
from launch.training import one_pass
from rankwise.files import write_json


def main(config: EvaluateConfig) -> None:
    """Predicts a split, and prints its scores where it has labels."""
    with waiting.stage("loading data and model"):
        base, modules, head, trained_on = load(config)
    task = base.task
    split = config.split or rows_of(config, task)
    scores.require(config, task, split)
    size = one_pass.rows(config.eval_batch_size, config.workdir)
    answers = one_pass.answers(base, modules, head, split, size)
    predicted = task.predict(answers)
    record = scores.score(task, split, predicted)
    if record["scores"]:
        print(table(("", *record["scores"]), scores.rows(record)))
    note = "; ".join(filter(None, (task.note, note_of_rows(config, task, split, trained_on))))
    print(f"{record['rows']} rows of {split} of {task.name}{': ' if note else ''}{note}")
    if record["scores"] and record["positive_class"] is not None:
        print(f"F1 is of the class {record['positive_class']!r}.")
    if config.predictions is not None:
        shares = task.probabilities(answers) if config.probabilities else None
        print(predictions.write(config.predictions, task, split, predicted, shares))
    if config.submission is not None:
        print(predictions.write_submission(config.submission, task, split, predicted))
    write_json(config.json, record)


if __name__ == "__main__":
    app.run(main, EvaluateConfig)
