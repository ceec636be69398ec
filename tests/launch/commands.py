"""Commands run in this process."""

import importlib

import pytest

from launch.shell import app

CONFIGS = {
    "train": ("launch.training.config", "TrainConfig"),
    "evaluate": ("launch.evaluate", "EvaluateConfig"),
    "compare": ("launch.compare", "CompareConfig"),
    "benchmark": ("launch.benchmark", "BenchmarkConfig"),
    "export": ("launch.export", "ExportConfig"),
    "check": ("launch.check", "CheckConfig"),
    "figures": ("launch.figures", "FiguresConfig"),
    "decompose": ("launch.decompose", "DecomposeConfig"),
}
COMMANDS = tuple(CONFIGS)


def command(name, *flags):
    """The exit status of `python -m launch.NAME`."""
    module = importlib.import_module(f"launch.{name}")
    place, config = CONFIGS[name]
    config = getattr(importlib.import_module(place), config)
    with pytest.raises(SystemExit) as stop:
        app.run(module.main, module.define_flags, config, [name, *flags])
    return stop.value.code or 0
