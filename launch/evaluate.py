"""Score a saved adapter: of a finished `launch.train` run, or in the format of PEFT.

python -m launch.evaluate --workdir=runs/adapad
python -m launch.evaluate --workdir=runs/table --data_dir=new.csv --predictions=new.jsonl
python -m launch.evaluate --workdir=runs/cola --split=test --submission=runs/glue
python -m launch.evaluate --workdir=runs/reviews --data_dir=new --split=test \\
    --predictions=new.csv --probabilities
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=mrpc --data_dir=data/glue --model=MODEL
python -m launch.evaluate --adapter=ADAPTER_FOLDER --task=humaneval --data_dir=data --model=MODEL \\
    --max_length=512 --run_generated_code --predictions=completions.jsonl

Data that are given with --workdir are taken whole, unless --heldout or --train_rows are given too;
other flags that are given replace those of the run, or are refused where they belong to it.
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
from finetune.training import adapter_files
from finetune.weights.files import read_json
from launch.shell import app, help_page
from launch.shell.path_flags import define_path
from launch.shell.tables import table
from launch.training import classes as run_classes
from launch.training import problem
from launch.training.problem import Problem, ProblemConfig
from rankwise.files import require_writable, write_json

# What of a run's problem an evaluation may replace; the rest belongs to what was learnt.
REPLACED = (
    *("data_dir", "texts", "label", "heldout", "train_rows", "max_length"),
    *("model", "revision", "dtype"),
    *("target_length", "samples", "temperature", "run_generated_code"),
)
# Without effect on data that are given whole.
WHOLE = {"heldout": 0.0, "train_rows": None}


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
    with help_page.group("what is scored, and where it goes"):
        _of_scores()


def _of_scores() -> None:
    define_path("workdir", None, "folder of a finished run of launch.train")
    define_path("adapter", None, "instead: a folder in the format of PEFT")
    flags.DEFINE_string("split", None, "rows to score; else those that training scores")
    flags.DEFINE_integer("eval_batch_size", 128, "rows per pass", lower_bound=1)
    flags.DEFINE_bool("allow_drawn", False, "score an --adapter on parameters drawn at random too")
    define_path("predictions", None, "file for them, .csv or .jsonl")
    flags.DEFINE_bool("probabilities", False, "of every class, in the file of --predictions")
    define_path("submission", None, "folder for the file that GLUE's server takes")
    define_path("json", None, "file for the scores")


def main(config: EvaluateConfig) -> None:
    """Predicts a split, and prints its scores where it has labels."""
    with app.stage("loading data and model"):
        base, modules, head, trained_on = loaded(config)
    task = base.task
    split = config.split or rows_of(config, task)
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
    forward = jax.jit(adapter_files.predict(base.network, modules, head, task.answer))
    passes = task.steps(split, config.eval_batch_size)
    batches = app.progress(task.in_order(split, config.eval_batch_size), passes, "batches")
    answers = task.gathered(split, (forward(base.network.params, b) for b in batches))
    found = task.predict(answers)
    record = scored(task, split, found)
    if record["scores"]:
        print(table(("", *record["scores"]), rows(record)))
    said = "; ".join(filter(None, (task.note, changed(task, split, trained_on))))
    print(f"{record['rows']} rows of {split} of {task.name}{': ' if said else ''}{said}")
    if record["scores"] and record["positive_class"] is not None:
        print(f"F1 is of the class {record['positive_class']!r}.")
    if config.predictions is not None:
        shares = task.probabilities(answers) if config.probabilities else None
        print(predictions.write(config.predictions, task, split, found, shares))
    if config.submission is not None:
        print(predictions.write_submission(config.submission, task, split, found))
    write_json(config.json, record)


def rows_of(config: EvaluateConfig, task: tasks.Task | tasks.LanguageTask) -> str:
    """The split to score where none is given: that of a file, else that which training scores."""
    whole = config.data_dir is not None and pathlib.Path(config.data_dir).is_file()
    return next(iter(task.splits)) if whole and len(task.splits) == 1 else task.evaluation


def changed(task: tasks.Task | tasks.LanguageTask, split: str, trained_on: dict) -> str:
    """What has to be said where a run knew other rows of a split; "" if it did not."""
    before = trained_on.get(split)
    if before is None or before == task.split(split).fingerprint:
        return ""
    return f"{split} has other rows, labels or tokens than the run had"


def loaded(config: EvaluateConfig) -> tuple[Problem, dict, dict, dict]:
    """The problem, the changes of its network's modules, its head, and the rows that it knew."""
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
        return base, found.adapters, found.heads, {}
    run = pathlib.Path(config.workdir)
    earlier = of_run(run / "config.json", config)
    base = problem.load(earlier, test=test, classes=run_classes.of_run(run))
    adapter = problem.adapter_of(run, earlier, base)
    # Rows that the command names are meant to be others.
    trained_on = adapter.about.get("data", {}) if config.data_dir is None else {}
    return base, adapter.modules, adapter.head, trained_on


def of_run(path: pathlib.Path, config: EvaluateConfig) -> ProblemConfig:
    """The problem of a run, with what the command line replaces.

    Raises:
      ValueError: a file of another version, or a flag that would change what the run has learnt.
    """
    raw, names = read_json(path), [field.name for field in dataclasses.fields(ProblemConfig)]
    if not set(names) <= set(raw):
        raise ValueError(f"{path} is no configuration of this version of launch.train")
    earlier = {name: raw[name] for name in names}
    given = {name: getattr(config, name) for name in names if flags.FLAGS[name].present}
    for name, value in given.items():
        if name not in REPLACED and value != earlier[name]:
            raise ValueError(
                f"--{name} is {value!r}; allowed is {earlier[name]!r}, as in {path}: only "
                f"{', '.join(f'--{other}' for other in REPLACED)} can be replaced"
            )
    whole = WHOLE if "data_dir" in given else {}
    return ProblemConfig(**earlier | whole | given)


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
