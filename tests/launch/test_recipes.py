"""Every saved recipe is a command line that `launch.train` takes."""

import pathlib

import pytest
from absl import flags

from finetune.methods.adapad import AdapadConfig
from finetune.tasks.glue import GLUE
from launch.shell import config_flags
from launch.training.config import TrainConfig
from tests.launch.commands import defined

RECIPES = pathlib.Path(__file__).parents[2] / "recipes"
TASKS = sorted(RECIPES.glob("*/*.flags"))
MODULES = 72  # linear maps of DeBERTaV3-base's 12 layers


@pytest.fixture
def parsed():
    def parse(path):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["train", f"--flagfile={path}"])
        return config_flags.parsed(TrainConfig)

    with defined("train"):
        yield parse


@pytest.mark.parametrize("path", TASKS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_recipe(parsed, path):
    config = parsed(path)
    if "--task=" not in path.read_text():
        assert config.method == path.stem.split("_")[0] or path.stem == "joint_3"
    else:
        assert config.task == path.stem
    assert path.read_text().startswith("# ")


def test_there_is_one_for_every_task_and_its_ranks_can_grow(parsed):
    files = {path.stem for path in RECIPES.glob("deberta/*.flags")}
    assert files - {"sora", "debora"} == set(GLUE)
    for name, data in GLUE.items():
        config = parsed(RECIPES / "deberta" / f"{name}.flags")
        total = config.loop_config(-(-data.rows["train"] // config.batch_size)).steps
        grown = config.method_config().settings
        assert isinstance(grown, AdapadConfig)
        assert grown.resolved(MODULES, total).budget == 2 * MODULES
