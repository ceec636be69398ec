"""A reduced-rank regression of a table: fit, report, files."""

from __future__ import annotations

import pathlib

import numpy as np

from deflation.sklearn import ReducedRankRegression
from deflation.sklearn.plot import error_by_rank
from launch.regressing import samples
from launch.regressing.config import RegressConfig
from launch.shell import waiting
from launch.shell.outputs import Workdir
from launch.shell.tables import table
from rankwise.files import write_json
from rankwise.plots.files import save as save_figure

HEADER = ("rank", "held-out error", "standard error", "held-out R2", "explained")


def regress(config: RegressConfig) -> None:
    """Fits, prints the errors by rank, and writes what was asked for."""
    with waiting.stage(f"reading {config.data}"):
        data, inputs = samples.read(config.data, config.targets, config.inputs)
        x, y = samples.numbers(data, inputs), samples.numbers(data, config.targets)
        new = None
        if config.new is not None:
            new = samples.read(config.new, (), inputs)[0]
            new_x = samples.numbers(new, inputs)
    if len(x) < config.folds:
        raise ValueError(
            f"--folds={config.folds} and {config.data} has {len(x)} rows; allowed are as many rows "
            "as folds"
        )
    if config.standardise:
        samples.require_spread(config.data, inputs, x)
        samples.require_spread(config.data, config.targets, y)
    with waiting.stage(f"fitting {len(x)} rows"):
        judged, model = _fitted(config, x, y)
    rows = _errors(judged, model)
    print(table(HEADER, rows))
    print(_verdict(config, len(x), len(inputs), judged, model))
    workdir = Workdir(config.workdir, config)
    if workdir.folder is not None:
        _write(workdir.folder, config, inputs, judged, model, rows)
    if new is not None:
        _predict(config, new, inputs, model.predict(new_x).reshape(len(new_x), -1))
    record = _record(config, inputs, len(x), model, rows)
    write_json(config.json, record)
    workdir.result(record)


def _fitted(config, x, y) -> tuple[ReducedRankRegression, ReducedRankRegression]:
    """The model that gives the errors by rank, and that of the rank."""
    options = {"ridge": config.ridge, "intercept": config.intercept}
    options |= {"standardise": config.standardise, "cv": config.folds}
    rank = config.rank if config.rank == "auto" else int(config.rank)
    model = ReducedRankRegression(rank, rule=config.rule, solver=config.solver, **options).fit(x, y)
    if hasattr(model, "cv_error_"):
        return model, model
    return ReducedRankRegression("auto", **options).fit(x, y), model


def _errors(judged, model) -> list[tuple]:
    explained = np.concatenate([[0.0], np.cumsum(model.explained_variance_ratio_)])
    nothing = judged.cv_error_[0] if judged.cv_error_[0] > 0 else np.nan
    columns = (
        judged.cv_error_,
        judged.cv_standard_error_,
        1 - judged.cv_error_ / nothing,
        explained,
    )
    return [(r, *map(float, row)) for r, row in enumerate(zip(*columns, strict=True))]


def _verdict(config, n: int, d: int, judged, model) -> str:
    how = "as asked for" if config.rank != "auto" else f"by --rule={config.rule}"
    lines = [f"rank {model.rank_} {how}; {n} rows, {d} inputs, {len(config.targets)} targets"]
    if judged.cv_error_[model.rank_] >= judged.cv_error_[0]:
        lines.append("no better on rows held out than the mean of each target, which is rank 0")
    if n <= d and not config.ridge:
        lines.append(f"{n} rows do not determine {d} inputs: the smallest best fit is taken")
    return "\n".join(lines)


def _write(folder, config, inputs, judged, model, rows) -> None:
    weight, constant = np.atleast_2d(model.coef_), np.ravel(model.intercept_)
    table_of = [("(intercept)", *constant)]
    table_of += [(name, *column) for name, column in zip(inputs, weight.T, strict=True)]
    samples.write(folder / "coefficients.csv", ("", *config.targets), table_of)
    samples.write(folder / "errors.csv", HEADER, rows)
    figure = error_by_rank(judged.cv_error_, model.rank_, judged.cv_standard_error_)
    save_figure(figure, pathlib.Path(folder) / "errors")


def _predict(config, new, inputs, predicted) -> None:
    others = [name for name in new.names if name not in (*inputs, *config.targets)]
    rows = zip(*map(new.column, others), *predicted.T, strict=True)
    samples.write(config.predictions, (*others, *config.targets), rows)
    print(f"{len(predicted)} rows predicted in {config.predictions}")


def _record(config, inputs, n: int, model, rows) -> dict:
    weight, constant = np.atleast_2d(model.coef_), np.ravel(model.intercept_)
    return {
        "rank": model.rank_,
        "rows": n,
        "inputs": inputs,
        "targets": config.targets,
        "coefficients": weight,
        "intercept": constant,
        "by_rank": [dict(zip(HEADER, row, strict=True)) for row in rows],
    }
