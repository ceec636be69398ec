"""Training steps of adapters: ours beside PEFT's, beside each other, and beside what is possible.

All programs take turns in one process, on the same weights, batch, dtype, threads and device,
without dropout. The phases of a method whose steps change in kind during a run are timed one by
one:

    AdaLoRA   before masks begin; with a mask after every step
    AdaPaD    growing: one component of every module is published, one trains in private;
              scored: the same in a step that also scores, where not all do;
              grown: all of the budget is published.
              By default (joint, every step scores); with --private_every=4, whose growing step
              trains nothing in private, which one in four does ("private"); with parallel levels;
              one level at a time (split); and the latter with --head_loss=own

Some rows have no adapter of PEFT's as competitor, but

    frozen network  its forward and backward pass that no adapter can avoid, `lora_step.frozen`
    products alone  the step's floating-point operations at the rate of the network's largest
                    product, measured in the same turns
    memory alone    the arrays that the step holds, read or written once, at the measured rate of a
                    sweep through memory

`language` has the step of LoRA on a language model, in float32 and in bfloat16.

Errors are the distance of the loss before training from the same network's in float64. The keys
bytes_ours and bytes_competitor count the arrays that a step holds at once, weights and optimiser
included: ours as the compiler plans them, PyTorch's as its allocator reports them to its profiler.
Neither counts code, nor what an allocator keeps without using it.

Ratios to PEFT need an idle machine: PyTorch's threads wait for each other in every operation, and
where others take the cores it loses several times more than JAX.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax

from finetune.methods.adapad import AdapadConfig
from finetune.ranks.growth import SHARE
from launch.bench import lora_step, peft_step
from launch.bench.rows import record
from launch.bench.timing import alternating
from launch.shell import waiting
from launch.shell.tables import table

SIZES = {"quick": (8, 16), "full": (32, 64)}
"""Rows and tokens per row of a batch."""
LANGUAGE, LANGUAGE_RANK = (4, 256), 8
"""The same of a language model's batch, and its rank."""
LORA, FROZEN, PRODUCTS, MEMORY = "LoRA", "frozen network", "products alone", "memory alone"
PEFT_LORA, PEFT_ADALORA = "PEFT LoRA", "PEFT AdaLoRA"
GOALS = {(LORA, PEFT_LORA): 1.3, (LORA, FROZEN): 1 / 1.15}
"""Least ratios that are wanted."""
SPLIT_GOAL = 1 / 1.1
FEW = 4
DENSE = {"score": "effective", "score_every": 5}
"""A score that takes a pass of its own, or dense gradients: not in every step."""
ADAPAD = {
    "default": {},
    f"private_every={FEW}": {"private_every": FEW},
    "split": {"phase": "split", **DENSE},
    "split, own head": {"phase": "split", "head_loss": "own", **DENSE},
    "parallel": {"phase": "parallel", **DENSE},
}
ADALORA = {"before masks": 0, "masks": 2 * lora_step.MASKS}
PHASES = ("growing", "private", "grown")
WHOLE = "AdaPaD default, a whole run"
"""A step on average."""
EVERY = 7
"""Steps between AdaPaD's growths."""


def run(
    folder: str,
    batch: tuple[int, int],
    rank: int,
    repeats: int,
    threads: int,
    dtype: str = "float32",
):
    """The rows, and a note with the rates and the memory of every program.

    Args:
      folder: of a BERT.
      batch: rows and tokens per row.
      rank: r of LoRA; the adaptive methods have a budget of r per module and at most 2 r in one.
      repeats: steps timed of each program.
      threads: of PyTorch; JAX takes all cores that the process may use.
      dtype: float32, or bfloat16 for what the networks compute with float32 parameters.

    Raises:
      ValueError: torch, transformers or peft is not installed, or JAX has an accelerator that torch
        has not.
    """
    peft_step.device()
    base = lora_step.base(folder, *batch, dtype)
    reference = dict(peft(base, rank, threads))
    programs = dict(waiting.progress(ours(base, rank), None, "programs")) | reference
    (product, flops), (sweep, moved) = lora_step.product(base), lora_step.sweep()
    for call in (*programs.values(), product, sweep):
        call()
    calls = [*programs.values(), product, sweep]
    medians = alternating(calls, repeats)
    seconds = dict(zip(programs, medians, strict=False))
    rates = flops / medians[-2], moved / medians[-1]
    lora = programs[LORA]
    seconds |= {PRODUCTS: lora.flops / rates[0], MEMORY: lora.bytes / rates[1]}
    seconds[WHOLE] = _on_average(*(seconds[f"AdaPaD default, {phase}"] for phase in PHASES))
    exact = peft_step.reference(base)
    errors = {name: abs(program.initial_loss - exact) for name, program in programs.items()}
    memory = {n: p.measured_bytes() if n in reference else p.bytes for n, p in programs.items()}
    one = f"AdaPaD default, {PHASES[0]}"
    errors[WHOLE], memory[WHOLE] = errors[one], memory[one]
    rows = [
        record(
            "finetune",
            _case(one, other),
            (one, other),
            (seconds[one], seconds[other]),
            (errors[one], errors.get(other, math.nan)),
            bytes_ours=memory[one],
            bytes_competitor=memory.get(other),
        )
        for one, other in _pairs(programs)
    ]
    return rows, _note(base, rank, programs, seconds, memory, rates)


def language(
    source: str,
    batch: tuple[int, int],
    repeats: int,
    threads: int,
    dtypes: tuple[str, ...] = ("float32", "bfloat16"),
):
    """The rows of a language model, one per dtype, and a note; arguments and errors as of `run`.

    Args:
      source: a folder, or a GGUF file.
    """
    peft_step.device()
    rows, lines, exact = [], [], None
    for dtype in waiting.progress(dtypes, len(dtypes), "dtypes of the language model"):
        base = lora_step.language(source, *batch, dtype)
        exact = peft_step.reference(base) if exact is None else exact
        programs = (
            lora_step.trained(base, "lora", rank=LANGUAGE_RANK, alpha=16.0),
            peft_step.lora(base, LANGUAGE_RANK, threads),
        )
        for program in programs:
            program()
        seconds = alternating(list(programs), repeats)
        held = programs[0].bytes, programs[1].measured_bytes()
        row = record(
            "finetune",
            f"a language model's step, {dtype}",
            (LORA, PEFT_LORA),
            tuple(seconds),
            tuple(abs(program.initial_loss - exact) for program in programs),
            bytes_ours=held[0],
            bytes_competitor=held[1],
        )
        rows.append(row)
        names = (f"{name}, {dtype}" for name in (LORA, PEFT_LORA))
        lines += zip(names, seconds, (size / 2**20 for size in held), strict=True)
    tokens = " x ".join(map(str, batch))
    note = f"a language model, {tokens} tokens, rank {LANGUAGE_RANK}\n\n"
    return rows, note + table(("program", "seconds", "MiB held"), lines)


def ours(base: lora_step.Base, rank: int) -> Iterator[tuple[str, lora_step.Program]]:
    """Our programs by name; the phases of a method are one compiled program."""
    modules = len(base.net.adapted())
    adaptive = {"rank": 2 * rank, "budget": rank * modules}
    yield LORA, lora_step.trained(base, "lora", rank=rank, alpha=16.0)
    yield FROZEN, lora_step.frozen(base)
    masks = {"t_init": lora_step.MASKS - 1, "t_final": 2, "delta_t": 1}
    adalora = lora_step.trained(base, "adalora", **adaptive, **masks)
    for name, number in ADALORA.items():
        yield f"AdaLoRA, {name}", adalora.at(number)
    for name, how in ADAPAD.items():
        program = lora_step.trained(base, "adapad", **how, **adaptive, every=EVERY, grow=modules)
        yield f"AdaPaD {name}, growing", program.at(0)
        if "score_every" in how:
            yield f"AdaPaD {name}, scored", program.at(how["score_every"] - 1)
        if (often := AdapadConfig(**how).private_every) > 1:
            yield f"AdaPaD {name}, private", program.at(often - 1)
        yield f"AdaPaD {name}, grown", program.at(0, [EVERY - 1] * (rank - 1))


def peft(base: lora_step.Base, rank: int, threads: int) -> Iterator[tuple[str, peft_step.Program]]:
    """PEFT's by name."""
    yield PEFT_LORA, peft_step.lora(base, rank, threads)
    for name, number in ADALORA.items():
        yield f"{PEFT_ADALORA}, {name}", peft_step.adalora(base, rank, number, threads)


def _pairs(programs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield LORA, PEFT_LORA
    yield from ((f"AdaLoRA, {name}", f"{PEFT_ADALORA}, {name}") for name in ADALORA)
    for reference in (FROZEN, PRODUCTS, MEMORY):
        yield LORA, reference
    adapad = [name for name in programs if name.startswith("AdaPaD")]
    yield from ((name, LORA) for name in (*adapad, WHOLE))
    yield from ((name, f"{PEFT_ADALORA}, masks") for name in adapad if name.endswith("grown"))


def _on_average(growing: float, private: float, grown: float) -> float:
    often = AdapadConfig().private_every
    share = SHARE[0] / SHARE[1]
    return share * (growing + (private - growing) / often) + (1 - share) * grown


def _case(ours: str, reference: str) -> str:
    goal = GOALS.get((ours, reference))
    if reference == LORA and ours.startswith("AdaPaD split"):
        goal = SPLIT_GOAL
    return "a step" if goal is None else f"a step, goal {goal:.2f}"


def _note(base, rank: int, programs, seconds, memory, rates) -> str:
    tokens = " x ".join(map(str, base.batch["input_ids"].shape))
    counted = ", ".join(f"{n} {programs[n].flops / 1e9:.1f} GFLOP" for n in (LORA, FROZEN))
    lines = [(name, seconds[name], memory[name] / 2**20) for name in programs]
    return (
        f"{tokens} tokens, rank {rank}, {base.dtype} on {jax.default_backend()}; "
        f"jax {jax.__version__}, {peft_step.versions()}; products "
        f"{rates[0] / 1e9:.1f} GFLOP/s, memory {rates[1] / 1e9:.1f} GB/s; {counted}\n\n"
        + table(("program", "seconds", "MiB held"), lines)
    )
