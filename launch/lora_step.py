"""The same training step of LoRA here and in PEFT: model, random batch, placement, optimiser."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import jax
import numpy as np

from finetune import methods, models
from finetune.methods import MethodConfig
from finetune.tasks import Split, Task
from finetune.training import network, optimisers, state, step

MAPS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")
RATE, LABELS = 1e-3, 2


def batch(vocabulary: int, rows: int, length: int) -> dict[str, np.ndarray]:
    """Random tokens without padding, and random classes."""
    generator = np.random.default_rng(0)
    return {
        "input_ids": generator.integers(5, vocabulary, (rows, length)).astype(np.int32),
        "attention_mask": np.ones((rows, length), np.int32),
        "labels": generator.integers(0, LABELS, rows).astype(np.int32),
        "weight": np.ones(rows, np.float32),
    }


def ours(folder: str, rows: int, length: int, rank: int) -> Callable[[], float]:
    """A function that takes one step and returns its loss. Dropout is off, to compare losses."""
    config, model = models.load(folder, labels=LABELS, key=jax.random.key(0))
    net = network.from_module(model)
    settings = optimisers.OptimiserConfig(learning_rate=RATE, schedule="constant", warmup=0)
    method = methods.make(MethodConfig("lora", rank=rank), settings, 100)
    head_tx = optimisers.optimiser(settings, 100)
    kernels = net.kernels(net.adapted())
    now = state.start(method, kernels, net.head(), head_tx, jax.random.key(0))
    names = ("no", "yes")
    given = batch(config.vocab_size, rows, length)
    split = Split({"input_ids": given["input_ids"]}, given["labels"])
    task = Task("made", {"train": split}, names, ("accuracy",), lambda inputs, indices: inputs)
    one = step.train_step(net, method, task.loss, head_tx, step.StepConfig(dropout=False))
    compiled = jax.jit(one, donate_argnums=0)

    def run() -> float:
        nonlocal now
        now, found = compiled(now, net.params, given)
        return float(found["loss"])

    return run


def peft(folder: str, rows: int, length: int, rank: int, threads: int) -> Callable[[], float]:
    """The same in PyTorch; its head is given our numbers.

    Raises:
      ValueError: torch, transformers or peft is not installed.
    """
    try:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForSequenceClassification
    except ImportError as error:
        raise ValueError(
            f"the suite finetune needs torch, transformers and peft: {error}"
        ) from None
    torch.set_num_threads(threads)
    config, model = models.load(folder, labels=LABELS, key=jax.random.key(0))
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=LABELS)
    params = network.from_module(model).params
    with torch.no_grad():
        base.classifier.weight.copy_(torch.tensor(np.array(params["classifier.weight"]).T))
        base.classifier.bias.copy_(torch.tensor(np.array(params["classifier.bias"])))
    targets = r".*encoder\.layer\.\d+\.(" + "|".join(MAPS).replace(".", r"\.") + ")"
    targets = targets.replace("(query|key|value|", "(attention\\.self\\.(?:query|key|value)|")
    settings = LoraConfig(
        r=rank, lora_alpha=16, target_modules=targets, modules_to_save=["classifier"]
    )
    network_ = get_peft_model(base, settings)
    network_.eval()  # no dropout; gradients flow all the same
    trained = [leaf for leaf in network_.parameters() if leaf.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=RATE, weight_decay=0)
    given = {
        name: torch.tensor(leaf.astype(np.int64))
        for name, leaf in batch(config.vocab_size, rows, length).items()
        if name != "weight"
    }

    def run() -> float:
        optimiser.zero_grad()
        loss = network_(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        return loss.item()

    return run


def versions() -> str:
    """What the competitor is."""
    return ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("peft", "torch"))
