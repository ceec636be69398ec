"""The study on digits and a tiny network: the tree is its paths, and its stages are the method."""

import dataclasses

import jax
import numpy as np
import pytest

from finetune import models, optimiser
from finetune.adapters.factors import delta
from finetune.adapters.method import Run
from finetune.methods.sequential import SequentialConfig, sequential
from finetune.models.mlp import MLPConfig
from finetune.studies.vision import halves
from finetune.studies.vision import study as module
from finetune.studies.vision.paths import ROLES, component, joint, run_seed, train_base
from finetune.studies.vision.programs import programs, small_lora
from finetune.studies.vision.setting import COMPONENTS, VisionSetting
from finetune.studies.vision.study import study
from finetune.tasks import images
from finetune.training import network, state
from finetune.training.step import StepConfig, train_step

# The example of `study` runs a seed by default, the method sequential has tests of its own.
pytestmark = pytest.mark.thorough
TINY = VisionSetting(
    "digits",
    hidden_size=12,
    epochs=(1, 3),
    base_epochs=4,
    joint_epochs=6,
    batch_size=8,
    learning_rate=0.02,
    std=0.1,
    rows=200,
    seeds=(3,),
)
SIZES = MLPConfig(num_labels=10, input_size=64, hidden_size=12)


def silent(stage):
    pass


def net(seed=3):
    return network.from_module(models.initialise(SIZES, jax.random.key(seed)))


@pytest.fixture(scope="module")
def tiny():
    """Data, programs, and all results of one seed."""
    data = halves.load(TINY)
    shared = programs(net(), data.task.loss, COMPONENTS, TINY.learning_rate, TINY.std)
    return data, shared, run_seed(TINY, shared, data, net().params, 3)


def test_the_tree_is_all_paths(tiny):
    data, shared, result = tiny
    assert result["component_3"].shape == (2, 2, 2) and result["component_1"].shape == (2,)
    base = train_base(TINY, shared, data.first, net().params, 3, silent)
    for place, path in (((0, 1, 0), (1, 3, 1)), ((1, 0, 1), (3, 1, 3))):
        params = base
        for depth, epochs in enumerate(path, start=1):
            alone = dataclasses.replace(TINY, epochs=(epochs,))
            (params,) = component(alone, shared, data.second, params, depth, 3, silent)
            accuracy = shared.accuracy(params, data.second.test)
            assert accuracy == result[f"component_{depth}"][place[:depth]]
        assert accuracy > 0.1


def test_the_base_knows_only_its_own_half(tiny):
    result = tiny[-1]
    assert result["base_own"] > 0.6 and result["base_new"] == 0
    assert result["component_3"].max() > 0.3 and result["joint"][-1] > 0.2


def test_programs_are_compiled_once(tiny):
    data, shared, _ = tiny
    before = dict(shared.traces)
    # Two halves of different size: that is all that is compiled twice.
    assert before == {**dict.fromkeys(before, 1), "accuracy": 2} and len(before) == 7
    run_seed(TINY, shared, data, net(4).params, 4)
    assert shared.traces == before


def stages_by_the_method(data, shared, base, path, seed=3):
    """The same path by `sequential`, its first factors and its batches those of the study."""
    steps = [e * -(-data.second.train.labels.shape[0] // TINY.batch_size) for e in path]
    options = optimiser.OptimiserConfig(
        learning_rate=TINY.learning_rate, schedule="constant", warmup=0, clip=0
    )
    method = sequential(SequentialConfig(path=tuple(steps), std=TINY.std), Run(options, sum(steps)))
    one, tx = net(), optimiser.optimiser(options, 1)
    paths = one.adapted("fc")
    now = state.start(method, one.kernels(paths, base), {}, tx, jax.random.key(0))
    theta = now.theta
    for depth in range(1, len(path) + 1):
        first = shared.component.start(jax.random.key(ROLES * seed + depth), base).theta
        theta = {
            p: {**leaves, "a": leaves["a"].at[:, depth - 1].set(first[p]["a"][:, 0])}
            for p, leaves in theta.items()
        }
    now = now._replace(theta=theta)
    step = jax.jit(train_step(one, method, data.task.loss, tx, StepConfig(clip=0)))
    task = halves.images.by_classes(data.task, "second")
    size = len(task.split("train"))
    task = task.select("train", np.random.default_rng(0).permutation(size)[: TINY.rows])
    for depth, count in enumerate(steps, start=1):
        for number in range(count):
            batch = task.batch("train", ROLES * seed + depth, number, TINY.batch_size)
            now, _ = step(now, base, batch)
    kernels = {
        f"{p}.weight": base[f"{p}.weight"] + delta(now.theta[p], now.aux[p]) for p in now.theta
    }
    return {**base, **kernels}


def test_a_path_is_the_method_sequential_at_a_constant_rate(tiny):
    data, shared, _ = tiny
    base = train_base(TINY, shared, data.first, net().params, 3, silent)
    params = base
    for depth, epochs in enumerate((1, 1, 3), start=1):
        alone = dataclasses.replace(TINY, epochs=(epochs,))
        (params,) = component(alone, shared, data.second, params, depth, 3, silent)
    expected = stages_by_the_method(data, shared, base, (1, 1, 3))
    for name, leaf in expected.items():
        moved = np.abs(leaf - base[name]).max()
        # The study adds finished components to the kernel: equal but for rounding.
        assert np.abs(params[name] - leaf).max() <= 1e-3 * max(moved, 1e-3), name
        assert (moved > 0.05) == name.endswith("weight")


def test_the_joint_adapter_starts_as_the_paper_has_it(tiny):
    data, shared, result = tiny
    method = small_lora(3, Run(optimiser.OptimiserConfig(), 1), std=0.01)
    theta, aux = method.prepare(jax.random.key(0), {"fc": np.ones((4000, 5), np.float32)}, None)
    assert aux["fc"]["gain"].tolist() == [1, 1, 1] and not theta["fc"]["b"].any()
    assert np.isclose(theta["fc"]["a"].std(), 0.01, rtol=0.03)
    base = train_base(TINY, shared, data.first, net().params, 3, silent)
    assert np.array_equal(joint(TINY, shared, data.second, base, 3, silent), result["joint"])


def test_batches_are_those_of_the_task():
    task = images.load("digits", classes="second")
    split = task.split("train")
    steps = task.steps("train", 32)
    for epoch in (0, 2):
        rows = halves.orders(len(split), 32, seed=7, epoch=epoch)
        for number in (0, steps - 1):
            batch = task.batch("train", 7, epoch * steps + number, 32)
            assert np.array_equal(split.labels[rows.indices[number]], batch["labels"])
            assert np.array_equal(rows.weight[number], batch["weight"])


def test_finished_seeds_are_stored_and_not_run_again(tmp_path, monkeypatch):
    made = {}  # by the rates and sizes: what depends on the network is its shapes

    def once(net, loss, *rest):
        if rest not in made:
            made[rest] = programs(net, loss, *rest)
        return made[rest]

    monkeypatch.setattr(module, "programs", once)
    setting = dataclasses.replace(
        TINY, epochs=(1,), base_epochs=1, joint_epochs=1, rows=64, seeds=(0,)
    )
    ticks = []
    first = study(setting, tmp_path / "s", lambda *event: ticks.append(event))
    assert sum(count for _, count in ticks) == setting.total_epochs == 1 + 3 + 1
    assert [name for name, _ in ticks] == [
        "base",
        *(f"component {k}" for k in (1, 2, 3)),
        "joint",
    ]
    (stored,) = (tmp_path / "s").iterdir()
    ticks.clear()
    both = dataclasses.replace(setting, seeds=(0, 1))
    again = study(both, tmp_path / "s", lambda *event: ticks.append(event))
    assert ticks[0] == ("stored", 5) and len(ticks) == 6
    for name in ("base_own", "component_3", "joint", "seconds"):
        assert np.array_equal(again[name][:1], first[name]) and len(again[name]) == 2
    # Another setting has files of its own.
    study(dataclasses.replace(setting, std=0.2), tmp_path / "s")
    assert len(list((tmp_path / "s").iterdir())) == 3
    stored.write_bytes(stored.read_bytes()[:100])
    with pytest.raises(ValueError, match="is damaged; remove it to measure it again"):
        study(setting, tmp_path / "s")


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"task": "sst2"}, "task is 'sst2'"),
        ({"epochs": (3, 1)}, r"epochs is \(3, 1\); allowed are ascending"),
        ({"epochs": (0, 1)}, "epochs is 0"),
        ({"seeds": ()}, r"seeds is \(\); allowed are one or more"),
        ({"seeds": (1, 1)}, "allowed are one or more different"),
        ({"rows": 0}, "rows is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"hidden_size": 0}, "hidden_size is 0"),
    ],
)
def test_settings_out_of_range(changed, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(TINY, **changed)


def test_the_papers_tree():
    setting = VisionSetting("mnist")
    assert len(setting.paths) == 64 and sum(map(sum, setting.paths)) == 912
    assert setting.tree_epochs == 210 and setting.total_epochs == 250
    moved = dataclasses.replace(setting, data_dir="elsewhere", seeds=(1,))
    assert moved.fingerprint() == setting.fingerprint()
    assert dataclasses.replace(setting, rows=10).fingerprint() != setting.fingerprint()
