"""The runs of a comparison, one after the other; what is finished is read and not repeated."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from finetune.tasks import metrics
from finetune.tasks.subsets import held_out
from finetune.training.loop import Diverged
from finetune.weights.files import read_json
from launch.comparing.grid import Cell
from launch.shell import earlier
from launch.shell.locks import one_writer
from launch.shell.waiting import stage
from launch.training import job as training
from launch.training import problem, run
from launch.training.config import FORMER, TrainConfig
from launch.training.problem_config import ProblemConfig
from rankwise.files import write_json
from rankwise.records import read

SHARE = 0.1
"""Of the training rows, held out to choose a learning rate."""


class Runner:
    """Trains the cells; data and network are loaded once per task, and the runs of a cell on the
    same rows share a program, those of other lengths where the method allows it.

    Args:
      cells: of `launch.comparing.grid`.
      apart: rates are chosen on held-out training rows.
    """

    def __init__(self, cells: Sequence[Cell], apart: bool):
        self._cells, self._apart = cells, apart
        self._problem: tuple[Any, problem.Problem | None] = (None, None)
        self._job: tuple[Any, training.Job | None] = (None, None)
        self._rows: list[tuple[Any, dict, str]] = []  # problem, fingerprints, folder
        self._trained: set[str] = set()  # those of this command
        self.total = sum(_runs(cell) for cell in cells)

    def records(self) -> Iterator[dict[str, Any]]:
        """One per run, with the entries task, recipe, seed, rate, and whether it only searched."""
        for cell in self._cells:
            rates, tried = list(cell.search[0]) if cell.search else [], {}
            for rung in cell.search:
                tried = {}
                for rate in rates:
                    tried[rate] = self._record(rung[rate], cell, self._apart)
                    yield {**tried[rate], "search": True}
                rates = ranked(tried)[: -(-len(rates) // 2)]
                if len(rates) == 1:
                    break
            best = ranked(tried)[0] if tried else None
            edge = _edge(best, cell.search[0]) if tried else None
            for (_, rate), config in cell.final.items():
                if rate == best or not tried:
                    # Without rows apart, the best run of the search is one of these, and is read.
                    record = self._record(config, cell, False)
                    yield {**record, "search": False, "rate_at_edge": edge}

    def _record(self, config: TrainConfig, cell: Cell, apart: bool) -> dict[str, Any]:
        # Trained once per command: the runs of a search are read again among the final ones.
        anew = config.overwrite and config.workdir not in self._trained
        self._trained.add(config.workdir)
        if not anew:
            config = dataclasses.replace(config, overwrite=False)
            earlier.same_run(config.workdir, config, training.FREE, FORMER.get(config.method))
        done = pathlib.Path(config.workdir) / "result.json"
        names = {"recipe": cell.method, "task": cell.task, "seed": config.seed}
        names |= {"rate": config.learning_rate, "batch_size": config.batch_size}
        if anew or not done.exists():
            rate = f"rate {config.learning_rate:g}"
            name = f"{cell.method} on {cell.task}, {rate}, seed {config.seed}"
            with one_writer(config.workdir):
                self._train(config, apart, done, name)
        record = {**read_json(done), "curve": _curve(done.parent / "metrics.jsonl")}
        self._require_same_rows(config, apart, record.get("data"))
        return {**record, **names}

    def _require_same_rows(self, config: TrainConfig, apart: bool, data: dict | None) -> None:
        """Refuses runs of one problem on rows that changed between them; older runs do not say."""
        if data is None:
            return
        key = (_of_problem(config), apart)
        for known, there, folder in self._rows:
            if known == key and there != data:
                raise ValueError(
                    f"{config.workdir} and {folder} were trained or scored on other rows of "
                    "the same files; allowed is one state of them: use another --workdir"
                )
        self._rows.append((key, data, config.workdir))

    def _train(self, config: TrainConfig, apart: bool, done: pathlib.Path, name: str) -> None:
        with stage(f"{name}: loading data and model"):
            job = self._prepared(config, apart)
        try:
            run.train(config, job, name)
        except Diverged as error:
            # A rate that is too large is a result of a search, and no reason to stop the others.
            majority = job.task.majority(job.task.evaluation)[job.task.metric]
            record = {"metric": job.task.metric, "majority": majority, "score": None}
            write_json(done, {**record, "diverged": str(error)})

    def _prepared(self, config: TrainConfig, apart: bool) -> training.Job:
        """The job of a run; with the last one's program where that serves it."""
        expected = {**_of_problem(config), "mesh": config.mesh, "remat": config.remat}
        if self._problem[0] != expected:
            self._problem, self._job = (expected, training.load(config)), (None, None)
        free = {"learning_rate": 1.0, "head_learning_rate": None}
        if config.method_config().scheduled:
            free |= {"steps": None, "epochs": None, "evaluate_every": None}
        same = dataclasses.replace(config, seed=0, workdir=None, **free)
        if self._job[0] == (same, apart):
            job = training.restarted(self._job[1], config)
        else:
            loaded = self._problem[1]
            if apart:
                loaded = loaded._replace(task=held_out(loaded.task, SHARE, config.seed))
            job = training.prepare(config, loaded)
        self._job = ((same, apart), job)
        return job


def _curve(path: pathlib.Path) -> list[tuple[int, float]]:
    """(step, score) of the evaluations of a run, [] of one that has written none."""
    lines = read(path) if path.exists() else []
    return [(line["step"], line["score"]) for line in lines if line.get("score") is not None]


def _of_problem(config: TrainConfig) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(ProblemConfig)}


def _runs(cell: Cell) -> int:
    """Runs of a cell: of its search until one rate is left, and those that are reported."""
    count, left = len({seed for seed, _ in cell.final}), len(cell.search[0]) if cell.search else 0
    for _ in cell.search:
        count, left = count + left, -(-left // 2)
        if left == 1:
            break
    return count


def _edge(best: float, tried: Collection[float]) -> str | None:
    """Where the best rate is the last one tried on a side, so that a better one may lie beyond."""
    return {min(tried): "smallest", max(tried): "largest"}.get(best)


def ranked(tried: dict[float, dict[str, Any]]) -> list[float]:
    """The rates, those of the best scores first, of equal ones the smaller; diverged ones last."""

    def key(rate: float):
        record = tried[rate]
        if record["score"] is None:
            return True, 0, rate
        return False, -metrics.gain(record.get("metric", ""), record["score"]), rate

    return sorted(tried, key=key)
