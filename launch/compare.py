"""Train every method on every task with every seed, and tabulate the scores.

python -m launch.compare --tasks=recipes/minilm/rte.flags,recipes/minilm/mrpc.flags \\
    --methods=recipes/methods/lora.flags,recipes/methods/adapad.flags --seeds=0,1,2 \\
    --workdir=runs/compare --data_dir=data/glue --model=MODEL_FOLDER

Tasks and methods are files of `launch.train`'s flags; flags of `launch.train` on the command line
hold for every run. Each run has a folder TASK.METHOD.SEED in --workdir, as `launch.train` would
have written it. The same command goes on where it was stopped, and repeats nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib

from absl import flags

from finetune.weights.files import read_json
from launch import app, comparison, longrun, train, training
from launch.outputs import write_json
from launch.tables import table
from launch.train_config import TrainConfig
from launch.train_flags import define_flags as define_train_flags


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """The flags of `python -m launch.compare`."""

    tasks: list[str]
    methods: list[str]
    seeds: list[str]
    workdir: str | None

    def __post_init__(self):
        for name in ("tasks", "methods", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"--{name} is empty; allowed is at least one")
        if self.workdir is None:
            raise ValueError("--workdir is needed")
        for path in (*self.tasks, *self.methods):
            if not pathlib.Path(path).is_file():
                raise ValueError(f"{path} is no file of flags")


def define_flags() -> None:
    """One flag per field of `CompareConfig`, and those of `launch.train`."""
    define_train_flags()
    flags.DEFINE_list("tasks", [], "files of launch.train's flags, one per task")
    flags.DEFINE_list("methods", [], "files of launch.train's flags, one per method")
    flags.DEFINE_list("seeds", ["0"], "seeds of adapters, dropout and order")
    flags.FLAGS["workdir"].help = "folder of the runs and the table"


def main(config: CompareConfig) -> None:
    """Runs what is missing and writes compare.json and compare.md."""
    # All of them first: a mistake in the last file is known before the first run.
    runs = train_configs(config)
    records, last = [], (None, None)
    for cell, one in app.progress(runs.items(), len(runs), "runs"):
        longrun.same_run(one.workdir, one, training.FREE)
        done = pathlib.Path(one.workdir) / "result.json"
        if not done.exists():
            # The next seed runs the same compiled programs.
            job = training.prepare(one) if last[0] != cell[:2] else training.restarted(last[1], one)
            last = (cell[:2], job)
            train.train(one, job)
        names = {"recipe": pathlib.Path(cell[1]).stem, "seed": one.seed}
        records.append({**read_json(done), **names})
    rows = comparison.rows(records)
    write_json(pathlib.Path(config.workdir) / "compare.json", records)
    text = comparison.markdown(rows)
    (pathlib.Path(config.workdir) / "compare.md").write_text(text, encoding="utf-8")
    print(table(comparison.HEADER, rows))


def train_configs(config: CompareConfig) -> dict[tuple[str, str, str], TrainConfig]:
    """(task, method, seed) -> the configuration of that run; absl reads the files of flags."""
    values = flags.FLAGS
    own = {field.name for field in dataclasses.fields(CompareConfig)}
    given = [values[n].serialize() for n in _names() if values[n].present and n not in own]
    runs = {}
    for task, method, seed in itertools.product(config.tasks, config.methods, config.seeds):
        name = f"{pathlib.Path(task).stem}.{pathlib.Path(method).stem}.{seed}"
        last = [f"--seed={seed}", f"--workdir={pathlib.Path(config.workdir) / name}"]
        values.unparse_flags()
        try:
            values(["train", f"--flagfile={task}", f"--flagfile={method}", *given, *last])
            found = app.from_flags(TrainConfig)
        except (flags.Error, ValueError) as error:
            raise ValueError(f"{task} with {method}: {error}") from None
        finally:
            values.mark_as_parsed()
        runs[task, method, seed] = found
    return runs


def _names() -> list[str]:
    """All flags of `launch.train`."""
    fields = dataclasses.fields(TrainConfig)
    return [name for field in fields for name in field.metadata.get("flags", (field.name,))]


if __name__ == "__main__":
    app.run(main, define_flags, CompareConfig)
