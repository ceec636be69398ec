"""Commands run in this process."""

import contextlib
import importlib

import pytest
from absl import flags

from launch.shell import app, config_flags

CONFIGS = {
    "train": ("launch.training.config", "TrainConfig"),
    "evaluate": ("launch.scoring.config", "EvaluateConfig"),
    "predict": ("launch.predicting.config", "PredictConfig"),
    "generate": ("launch.generating.config", "GenerateConfig"),
    "compare": ("launch.comparing.config", "CompareConfig"),
    "benchmark": ("launch.bench.config", "BenchmarkConfig"),
    "export": ("launch.exporting.config", "ExportConfig"),
    "adapter": ("launch.adapting.config", "AdapterConfig"),
    "compress": ("launch.compressing.config", "CompressConfig"),
    "check": ("launch.evidence.checking", "CheckConfig"),
    "figures": ("launch.evidence.drawing", "FiguresConfig"),
    "decompose": ("launch.decomposing.config", "DecomposeConfig"),
    "regress": ("launch.regressing.config", "RegressConfig"),
}
COMMANDS = tuple(CONFIGS)


def command(name, *arguments):
    """The exit status of `python -m launch.NAME`."""
    module = importlib.import_module(f"launch.{name}")
    *beside, own = configurations(name)
    with pytest.raises(SystemExit) as stop:
        app.run(module.main, own, [name, *arguments], *beside)
    return stop.value.code or 0


def configurations(name):
    """The records of the flags of a command, its own last."""
    names = ("train", name) if name == "compare" else (name,)
    places = (CONFIGS[one] for one in names)
    return [getattr(importlib.import_module(place), config) for place, config in places]


@contextlib.contextmanager
def defined(name):
    """The flags of a command, as a set of names, for the block."""
    before = set(flags.FLAGS)
    for config in configurations(name):
        config_flags.define(config)
    own = set(flags.FLAGS) - before
    try:
        yield own
    finally:
        for flag in own:
            delattr(flags.FLAGS, flag)
