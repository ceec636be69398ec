"""Runs in one part and in several, traces, records, and what stops a run."""

import copy
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from finetune.methods import NAMES, OPTIONS, MethodConfig
from finetune.training.checkpoints import Checkpoints
from finetune.training.loop import Diverged, LoopConfig
from finetune.training.metrics import JsonLines, rank_table, read
from tests.finetune.methods.axis import beside
from tests.finetune.training import small


def config(name):
    options = {"adapad": {"every": 3}}.get(name, {})
    rank = {"rank": 2} if name in OPTIONS["rank"].methods else {}
    return MethodConfig(name, **rank, **options)


run_of = functools.cache(small.Run)

# A growing rank, averages of a projected gradient, the head alone: the other kinds of state (all
# parameters, factors, links of a chain) have less that a checkpoint could miss.
KINDS = ("adapad", "galore", "head")


@pytest.mark.parametrize("name", beside(set(NAMES) - set(KINDS)))
def test_a_run_in_two_parts_is_bitwise_one_run_and_compiles_once(name, tmp_path):
    run = run_of(config(name))
    one, records = [], []
    whole = run.fit(report=one.append)
    saved = Checkpoints(tmp_path / "c", {})
    half = dataclasses.replace(LoopConfig(8, 8), evaluate_every=4, checkpoint_every=4)
    run.steps = half.steps
    run.fit(checkpoints=saved, report=records.append)
    run.steps = 12
    restored = Checkpoints(tmp_path / "c", {}).restore(run.first)
    assert int(restored.state.step) == 8
    again = run.fit(
        state=restored.state,
        extra=restored.extra,
        checkpoints=Checkpoints(tmp_path / "c", {}),
        report=records.append,
    )
    assert small.same(whole.state, again.state)
    assert (whole.best, whole.best_step, whole.scores) == (
        again.best,
        again.best_step,
        again.scores,
    )
    strip = [[{**r, "examples_per_second": 0} for r in part] for part in (one, records)]
    assert strip[0] == strip[1]
    assert run.traces == 1


def test_the_base_is_never_changed():
    before = {name: np.array(leaf) for name, leaf in small.net().params.items()}
    run = run_of(config("adapad"))
    outcome = run.fit()
    assert all(np.array_equal(before[name], leaf) for name, leaf in small.net().params.items())
    assert not np.array_equal(outcome.state.head["fc3.weight"], before["fc3.weight"])


def test_best_and_last_are_reported_apart():
    records = []
    outcome = run_of("lora").fit(report=records.append)
    scores = {r["step"]: r["score"] for r in records if "score" in r}
    assert outcome.scores["accuracy"] == scores[12] and outcome.best == max(scores.values())
    assert scores[outcome.best_step] == outcome.best and list(scores) == [4, 8, 12]


def test_ranks_are_recorded_when_they_change():
    records = []
    run_of(config("adapad")).fit(report=records.append, settings={"log_every": 1})
    steps, paths, table = rank_table(records)
    assert steps == [1, 3, 6] and paths == ["fc1", "fc2"]
    assert table.sum(axis=1).tolist() == [2, 3, 4]


class Broken:
    """A step whose loss is NaN in one step."""

    def __init__(self, run, at):
        self.step, self.at = run.step, at

    def __call__(self, state, params, batch):
        number = int(state.step)
        state, metrics = self.step(state, params, batch)
        if number + 1 == self.at:
            metrics = {**metrics, "loss": jnp.nan}
        return state, metrics


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_checkpoint(tmp_path):
    whole = run_of("lora")
    run = copy.copy(whole)
    run.step = Broken(whole, at=7)
    saved = Checkpoints(tmp_path / "c", {})
    with pytest.raises(Diverged, match=r"loss is nan in step 7; .* that of step 4 in .*/c$"):
        run.fit(checkpoints=saved)
    run.step = Broken(whole, at=8)
    with pytest.raises(Diverged, match="loss is nan in step 8; there is no checkpoint before it"):
        run.fit()
    assert int(Checkpoints(tmp_path / "c", {}).restore(run.first).state.step) == 4


def test_records_of_steps_that_are_repeated_are_dropped(tmp_path):
    path = tmp_path / "m.jsonl"
    lines = JsonLines(path, upto=0)
    for step in range(1, 6):
        lines.write({"step": step, "loss": float(step)})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # cut short by a kill
    assert [r["step"] for r in read(path)] == [1, 2, 3, 4, 5]
    JsonLines(path, upto=3).write({"step": 4, "loss": float("inf")})
    assert read(path)[3:] == [{"step": 4, "loss": None}]
    JsonLines(path, upto=0)
    assert read(path) == []


@pytest.mark.parametrize("field", ["steps", "batch_size", "evaluate_every"])
def test_settings_outside_their_range_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} is 0; allowed are integers >= 1"):
        LoopConfig(**{"steps": 5, field: 0})


def test_the_key_of_a_step_is_its_own():
    run = run_of("lora")
    first, *_, last = run.states(3)
    assert np.array_equal(jax.random.key_data(first.key), jax.random.key_data(last.key))
    assert int(last.step) == 3
