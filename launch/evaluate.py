"""Score a saved adapter: of a finished `launch.train` run, or in the format of PEFT.

python -m launch.evaluate --workdir=runs/adapad
python -m launch.evaluate --workdir=runs/cola --split=test --submission=runs/glue
python -m launch.evaluate --workdir=runs/reviews --data_dir=new --split=test \\
    --predictions=new.csv --probabilities
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=mrpc --data_dir=data/glue --model=MODEL
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=humaneval --data_dir=data --model=MODEL \\
    --max_length=512 --run_generated_code --predictions=completions.jsonl

New rows need neither labels nor a training split: a run keeps the names of its classes. An adapter
of PEFT's own has them in a config.json beside it, or its base model has.

Of a language model --predictions takes what it has written; without --run_generated_code these can
be had of humaneval too, and are not scored.
"""

from __future__ import annotations

import dataclasses
import pathlib

import jax
from absl import flags

from finetune import models, peft, tasks
from finetune.tasks import class_names, predictions
from finetune.training import adapters
from finetune.weights.files import read_json
from launch import app, problem
from launch import classes as run_classes
from launch.outputs import require_writable, write_json
from launch.problem import Problem, ProblemConfig
from launch.tables import table


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(ProblemConfig):
    """The flags of `python -m launch.evaluate`; with --workdir the run has said the rest."""

    workdir: str | None
    adapter: str | None
    split: str | None
    eval_batch_size: int
    allow_drawn: bool
    predictions: str | None
    probabilities: bool
    submission: str | None
    json: str | None

    def __post_init__(self):
        if (self.workdir is None) == (self.adapter is None):
            raise ValueError("one of --workdir and --adapter is needed")
        if self.probabilities and self.predictions is None:
            raise ValueError("--probabilities is for the file of --predictions, which is not given")
        require_writable(self.json)
        require_writable(self.predictions)


def define_flags() -> None:
    """One flag per field of `EvaluateConfig`."""
    problem.define_flags()
    flags.DEFINE_string("workdir", None, "folder of a finished run of launch.train")
    flags.DEFINE_string("adapter", None, "instead: a folder in the format of PEFT")
    flags.DEFINE_string("split", None, "rows to score; else those that training scores")
    flags.DEFINE_integer("eval_batch_size", 128, "rows per pass", lower_bound=1)
    flags.DEFINE_bool("allow_drawn", False, "score an --adapter on parameters drawn at random too")
    flags.DEFINE_string("predictions", None, "file for them, .csv or .jsonl")
    flags.DEFINE_bool("probabilities", False, "of every class, in the file of --predictions")
    flags.DEFINE_string("submission", None, "folder for the file that GLUE's server takes")
    flags.DEFINE_string("json", None, "file for the scores")


def main(config: EvaluateConfig) -> None:
    """Predicts a split, and prints its scores where it has labels."""
    base, modules, head = loaded(config)
    task = base.task
    split = config.split or task.evaluation
    if config.submission is not None:
        predictions.require_submission(task, split)
    if config.predictions is not None:
        predictions.require_suffix(config.predictions, task)
    if config.probabilities and not run_classes.names(task):
        raise ValueError(f"--probabilities is for classes; --task={config.task} has none here")
    if task.refusal and config.predictions is None:
        raise ValueError(task.refusal)
    forward = jax.jit(adapters.predict(base.network, modules, head, task.answer))
    passes = task.steps(split, config.eval_batch_size)
    batches = app.progress(task.in_order(split, config.eval_batch_size), passes, "batches")
    answers = task.gathered(split, (forward(base.network.params, b) for b in batches))
    found = task.predict(answers)
    record = scored(task, split, found)
    if record["scores"]:
        print(table(("", *record["scores"]), rows(record)))
    print(f"{record['rows']} rows of {split} of {task.name}{': ' if task.note else ''}{task.note}")
    if record["scores"] and record["positive_class"] is not None:
        print(f"F1 is of the class {record['positive_class']!r}.")
    if config.predictions is not None:
        shares = task.probabilities(answers) if config.probabilities else None
        print(predictions.write(config.predictions, task, split, found, shares))
    if config.submission is not None:
        print(predictions.write_submission(config.submission, task, split, found))
    write_json(config.json, record)


def loaded(config: EvaluateConfig) -> tuple[Problem, dict, dict]:
    """The problem, the changes of its network's modules, and its head."""
    test = (config.split or "").startswith("test")
    if config.workdir is None:
        classes = class_names.of_folder(config.adapter) or problem.classes_of_model(config)
        base = problem.load(config, test=test, classes=classes)
        folder = models.resolve(config.base(), revision=config.revision)
        sizes = models.read_config(folder, labels=base.task.num_labels, pooling=config.pooling)
        found = peft.load(config.adapter, sizes)
        drawn = sorted(set(base.network.drawn) - set(found.heads))
        if drawn and not config.allow_drawn:
            raise ValueError(
                f"neither --adapter={config.adapter} nor --model={config.base()} has "
                f"{', '.join(drawn)}: drawn at random, scores would mean nothing; save them with "
                "the adapter (PEFT's modules_to_save), or say --allow_drawn"
            )
        return base, found.adapters, found.heads
    run = pathlib.Path(config.workdir)
    earlier = of_run(run / "config.json", config)
    base = problem.load(earlier, test=test, classes=run_classes.of_run(run))
    adapter = problem.adapter_of(run, earlier, base)
    return base, adapter.modules, adapter.head


def of_run(path: pathlib.Path, config: EvaluateConfig) -> ProblemConfig:
    """The problem of a run; where data or model lie may have changed since."""
    raw, names = read_json(path), [field.name for field in dataclasses.fields(ProblemConfig)]
    if not set(names) <= set(raw):
        raise ValueError(f"{path} is no configuration of this version of launch.train")
    moved = {n: getattr(config, n) for n in ("data_dir", "model") if getattr(config, n)}
    return ProblemConfig(**{name: raw[name] for name in names} | moved)


def scored(task: tasks.Task | tasks.LanguageTask, split: str, found) -> dict:
    """Metrics and those of the majority class; empty for a split without labels."""
    rows = len(task.split(split))
    record = {"task": task.name, "split": split, "rows": rows, "note": task.note}
    record["classes"] = list(run_classes.names(task))
    record["positive_class"] = getattr(task, "positive_class", None)
    if task.split(split).labels is None or task.refusal:
        return {**record, "scores": {}, "majority": {}}
    scores = task.score(found, task.labels(split))
    return {**record, "scores": scores, "majority": task.majority(split)}


def rows(record: dict) -> list[tuple]:
    """Lines of the printed table."""
    kinds = ("scores", "majority") if record["scores"] else ()
    return [(kind, *record[kind].values()) for kind in kinds]


if __name__ == "__main__":
    app.run(main, define_flags, EvaluateConfig)
