"""The same training steps in PyTorch, by PEFT: weights, batch, placement, optimiser, clipping."""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np

from launch.bench.lora_step import LABELS, MASKS, RATE, STEPS, Base

TARGETS = (
    r".*encoder\.layer\.\d+\.(attention\.self\.(query|key|value)|attention\.output\.dense"
    r"|intermediate\.dense|output\.dense)"
    r"|.*layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
)
"""All attention and feed-forward maps of a BERT, or of a Llama."""


def packages() -> Any:
    """(torch, transformers, peft).

    Raises:
      ValueError: one of them is not installed.
    """
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        raise ValueError(
            f"the suites finetune and adapters need torch, transformers and peft: {error}"
        ) from None
    return torch, transformers, peft


def versions() -> str:
    """What the competitor is."""
    return ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("peft", "torch"))


def device() -> str:
    """Where PyTorch computes: where JAX does.

    Raises:
      ValueError: JAX has an accelerator and PyTorch has none.
    """
    torch, _, _ = packages()
    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError(
            f"JAX computes on {jax.default_backend()!r}, where torch {torch.__version__} cannot; "
            "JAX_PLATFORMS=cpu compares on the CPU"
        )
    return "cuda"


def network(base: Base) -> Any:
    """The network in PyTorch; the head of a classifier is given our numbers."""
    torch, transformers, _ = packages()
    if base.net.kind == "causal":
        place = pathlib.Path(base.folder)
        file = {"gguf_file": place.name} if place.is_file() else {}
        return transformers.AutoModelForCausalLM.from_pretrained(
            place.parent if file else place, **file, dtype=torch.float32, use_cache=False
        ).eval()
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        base.folder, num_labels=LABELS
    )
    with torch.no_grad():
        for name, ours in base.net.head().items():
            ours = np.array(ours)
            model.get_parameter(name).copy_(torch.tensor(ours.T))
    return model.eval()  # no dropout; gradients flow all the same


def batch(base: Base) -> dict[str, Any]:
    """The batch as PyTorch takes it."""
    torch, _, _ = packages()
    whole = {name: leaf.astype(np.int64) for name, leaf in base.batch.items() if name != "weight"}
    if base.net.kind == "causal":
        whole["labels"] = whole["input_ids"]  # it shifts them itself
    return {name: torch.tensor(leaf, device=device()) for name, leaf in whole.items()}


def reference(base: Base) -> float:
    """The loss of the frozen network in float64."""
    torch, _, _ = packages()
    with torch.no_grad():
        return network(base).double().to(device())(**batch(base)).loss.item()


class Program:
    """A step of a PEFT adapter with the state that it moves on; calling it takes a step.

    Below float32 by automatic casts: parameters stay float32, as ours do.

    Args:
      base: weights and batch.
      settings: a PEFT configuration, all but its targets.
      threads: of PyTorch.
      number: of the step that AdaLoRA is told to be at.
    """

    def __init__(self, base: Base, settings: Any, threads: int, number: int = 0):
        torch, _, peft = packages()
        torch.set_num_threads(threads)
        settings.target_modules = TARGETS
        settings.modules_to_save = ["classifier"] if base.net.head() else None
        self.network = peft.get_peft_model(network(base), settings).eval().to(device())
        low = base.dtype != "float32"
        self.casts = torch.autocast(device(), getattr(torch, base.dtype) if low else None, low)
        leaves = self.network.parameters()
        self.trained = [leaf for leaf in leaves if leaf.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=RATE, weight_decay=0)
        self.given, self.number = batch(base), number
        self.initial_loss: float | None = None

    def __call__(self) -> float:
        """Takes the step; the loss before it, without penalties."""
        torch, _, _ = packages()
        self.optimiser.zero_grad()
        with self.casts:
            output = self.network(**self.given)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        if hasattr(self.network.base_model, "update_and_allocate"):
            self.network.base_model.update_and_allocate(self.number)
        loss = output.loss.detach()
        if output.logits.ndim == 2:
            loss = torch.nn.functional.cross_entropy(output.logits.float(), self.given["labels"])
        loss = loss.item()  # waits for an accelerator
        self.initial_loss = loss if self.initial_loss is None else self.initial_loss
        return loss

    def measured_bytes(self) -> int:
        """Tensors that a warm step holds at once: those before it and the most it allocates.

        The latter is what the profiler of PyTorch has seen of its allocator; on a GPU both are what
        the allocator counts.
        """
        torch, _, _ = packages()
        self.optimiser.zero_grad()
        if device() == "cuda":
            torch.cuda.reset_peak_memory_stats()
            others = torch.cuda.memory_allocated()
            self()
            return self._kept() + torch.cuda.max_memory_allocated() - others
        held = self._kept()
        activities = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities, profile_memory=True) as seen:
            self()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "trace.json"
            seen.export_chrome_trace(str(path))
            events = json.loads(path.read_text())["traceEvents"]
        return held + max(e["args"]["Total Allocated"] for e in events if e["name"] == "[memory]")

    def _kept(self) -> int:
        """Bytes of weights, optimiser and batch."""
        torch, _, _ = packages()
        kept = [*self.network.state_dict().values(), *self.given.values()]
        kept += [
            leaf
            for slots in self.optimiser.state.values()
            for leaf in slots.values()
            if isinstance(leaf, torch.Tensor)
        ]
        return sum({leaf.data_ptr(): leaf.nbytes for leaf in kept}.values())


def lora(base: Base, rank: int, threads: int) -> Program:
    """PEFT's LoRA."""
    _, _, peft = packages()
    return Program(base, peft.LoraConfig(r=rank, lora_alpha=16), threads)


def adalora(base: Base, rank: int, number: int, threads: int) -> Program:
    """PEFT's AdaLoRA from twice the rank, at step `number` of the run; masks begin at `MASKS`."""
    _, _, peft = packages()
    settings = peft.AdaLoraConfig(
        init_r=2 * rank,
        target_r=rank,
        lora_alpha=16,
        tinit=MASKS - 1,
        tfinal=2,
        deltaT=1,
        total_step=STEPS,
        orth_reg_weight=0.1,
    )
    return Program(base, settings, threads, number)
