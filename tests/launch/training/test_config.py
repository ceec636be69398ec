"""The flags of a run are the options of the libraries' records, and what they make of each."""

import dataclasses

import pytest

from finetune.optimiser import OPTIMISERS, SCHEDULES, OptimiserConfig
from finetune.training.loop import LoopConfig
from finetune.training.step import StepConfig
from launch.training.config import LoopFlags, TrainConfig
from rankwise.files import to_json

# Name, default, least, largest, choices: in the order of config.json, which saved runs have.
FLAGS = [
    ("optimiser", "adamw", None, None, OPTIMISERS),
    ("learning_rate", 3e-3, 0, None, ()),
    ("head_learning_rate", None, 0, None, ()),
    ("schedule", "linear", None, None, SCHEDULES),
    ("warmup", 0.06, 0, None, ()),
    ("renew_every", None, 1, None, ()),
    ("weight_decay", 0.0, 0, None, ()),
    ("clip", 1.0, 0, None, ()),
    ("batch_size", 32, 1, None, ()),
    ("accumulate", 1, 1, None, ()),
    ("dropout", True, None, None, ()),
    ("adapter_dropout", 0.0, 0, 0.99, ()),
    ("remat", False, None, None, ()),
    ("scan", None, 0, None, ()),
    ("steps", None, 1, None, ()),
    ("epochs", None, 0, None, ()),
    ("seed", 0, 0, 2**32 - 1, ()),
    ("evaluate_every", None, 1, None, ()),
    ("checkpoint_every", None, 1, None, ()),
    ("log_every", 10, 1, None, ()),
    ("eval_batch_size", 128, 1, None, ()),
]
OTHER_MEANING = {"steps", "seed", "evaluate_every", "checkpoint_every"}
"""Options of records whose flag does more, and says so."""
NO_FLAG = {"beta1", "beta2", "epsilon"}


def test_flags_of_optimiser_step_and_loop():
    limits = ("lower", "upper", "choices")
    there = [
        (f.name, f.default, *(f.metadata[limit] for limit in limits))
        for f in dataclasses.fields(LoopFlags)
    ]
    assert there == FLAGS
    names = [name for name in to_json(TrainConfig()) if name in {flag[0] for flag in FLAGS}]
    assert names == [flag[0] for flag in FLAGS]


@pytest.mark.parametrize("record", [OptimiserConfig, StepConfig, LoopConfig])
def test_an_option_is_said_once(record):
    flags = {field.name: field.metadata for field in dataclasses.fields(LoopFlags)}
    for field in dataclasses.fields(record):
        flag = flags.get("optimiser" if field.name == "name" else field.name)
        assert (flag is None) == (field.name in NO_FLAG)
        if flag is not None:
            assert (flag == field.metadata) == (field.name not in OTHER_MEANING)


def test_records_have_the_values_of_the_flags():
    flags = LoopFlags(
        optimiser="sgd",
        learning_rate=0.5,
        head_learning_rate=0.25,
        renew_every=7,
        clip=2.0,
        batch_size=4,
        accumulate=2,
        dropout=False,
        adapter_dropout=0.1,
        epochs=3.0,
        seed=5,
        checkpoint_every=6,
    )
    assert flags.optimiser_config() == OptimiserConfig("sgd", 0.5, clip=2.0, renew_every=7)
    assert flags.optimiser_config(head=True).learning_rate == 0.25
    assert flags.step_config() == StepConfig(2.0, 2, False, 0.1)
    assert flags.loop_config(per_epoch=10) == LoopConfig(30, 4, 5, 3, 6)


def test_layers_are_scanned_where_that_costs_nothing():
    # Ranks of its own, or levels on devices of their own, would be copied in each step.
    defaults = {"lora": 8, "adapad": 8, "galore": 8, "increlora": 0, "rite": 0}
    assert {name: TrainConfig(method=name).scanned() for name in defaults} == defaults
    assert TrainConfig(method="parallel", mesh=("level:2",)).scanned() == 0
    assert TrainConfig(method="increlora", scan=4).scanned() == 4
    assert TrainConfig(method="lora", scan=0).scanned() == 0
