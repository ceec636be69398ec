"""Fine-tuning of pretrained networks one rank at a time, and by two dozen other low-rank methods.

The names below are what a program of one's own needs: a model and a task, a method, the training
step, and an adapter to save, load and export. Each is loaded when it is first used. For a model and
a loss of one's own `adapt` is all.

Example:
  >>> import tempfile
  >>> import jax
  >>> import finetune as ft
  >>> task = ft.load_task("digits")
  >>> sizes = ft.models.mlp.MLPConfig(input_size=64, hidden_size=16, num_labels=10)
  >>> net = ft.network_of(ft.models.initialise(sizes, jax.random.key(0)))
  >>> options = ft.OptimiserConfig(learning_rate=0.01)
  >>> method = ft.make_method(ft.MethodConfig("adapad", rank=2), options, total=20)
  >>> head_tx = ft.make_optimiser(options, total=20)
  >>> step = jax.jit(ft.train_step(net, method, task.loss, head_tx, ft.StepConfig()))
  >>> paths = net.adapted()
  >>> state = ft.start(method, net.kernels(paths), net.head(), head_tx, jax.random.key(0))
  >>> for number in range(20):
  ...     state, metrics = step(state, net.params, task.batch("train", 0, number, 32))
  >>> with tempfile.TemporaryDirectory() as folder:
  ...     adapter = ft.exported(method, state, net.kernels(paths), {"base": "mlp"})
  ...     ft.save_adapter(f"{folder}/adapter.safetensors", adapter)
  ...     sorted(ft.load_adapter(f"{folder}/adapter.safetensors").modules)
  ['fc1', 'fc2']
"""

from __future__ import annotations

import importlib
from typing import Any

# Name here -> (module, name there).
_PUBLIC = {
    "adapt": ("finetune.host.adapting", "adapt"),
    "Adapted": ("finetune.host.adapted", "Adapted"),
    "State": ("finetune.training.state", "TrainState"),
    "METHODS": ("finetune.methods", "NAMES"),
    "MethodConfig": ("finetune.methods", "MethodConfig"),
    "make_method": ("finetune.methods", "make"),
    "OptimiserConfig": ("finetune.optimiser", "OptimiserConfig"),
    "make_optimiser": ("finetune.optimiser", "optimiser"),
    "TaskConfig": ("finetune.tasks", "TaskConfig"),
    "load_task": ("finetune.tasks", "load"),
    "load_model": ("finetune.models", "load"),
    "network_of": ("finetune.training.network", "from_module"),
    "StepConfig": ("finetune.training.step", "StepConfig"),
    "start": ("finetune.training.state", "start"),
    "train_step": ("finetune.training.step", "train_step"),
    "predict": ("finetune.training.step", "predict"),
    "LoopConfig": ("finetune.training.loop", "LoopConfig"),
    "fit": ("finetune.training.loop", "fit"),
    "exported": ("finetune.training.adapter_files", "exported"),
    "save_adapter": ("finetune.training.adapter_files", "save"),
    "load_adapter": ("finetune.training.adapter_files", "load"),
    "export_peft": ("finetune.peft", "export"),
    "load_peft": ("finetune.peft", "load"),
    "merged": ("finetune.peft", "merged"),
    "models": ("finetune.models", None),
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = importlib.import_module(module)
    value = value if attribute is None else getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
