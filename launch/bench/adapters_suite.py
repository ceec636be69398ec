"""Algebra of adapters beside what a user would pick, in float32 on the host: a row per pair.

    merge    two adapters of rank 16 to rank 8, beside PEFT's combination_type="svd"
    resize   many modules to an eighth of their rank, beside Householder's QR of their factors
    extract  a difference of two kernels to a rank, beside torch.svd_lowrank and torch.linalg.svd

    error_ours, error_competitor
             share by which ||change - result||_F is above the least of its rank

Reading and writing of files is not in the times; torch.linalg.svd is called once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import threadpoolctl

from finetune.adapters.method import Factors
from finetune.algebra import cutting, merging, ranks, spectra
from finetune.algebra.extraction import leading
from finetune.peft.standalone import Standalone, plain
from launch.bench import peft_step
from launch.bench.rows import record
from launch.bench.timing import alternating, seconds

WEIGHTS, RANKS, MERGED = (0.7, 0.3), (16, 16), 8
DECAYS = {"i^-1/5": 0.2, "i^-1/2": 0.5, "1 / i": 1.0}
# q, k, v, o, gate, up and down of a layer of SmolLM2-135M, (in, out).
SMOLLM2 = (*((576, out) for out in (576, 192, 192, 576, 1536, 1536)), (1536, 576))


class Sizes(NamedTuple):
    """What is computed.

    Attributes:
      merge: (in, out) of every map of the merged adapters.
      resize: how many modules, their side, and the rank before.
      extract: the side of the difference and the rank.
    """

    merge: tuple[tuple[int, int], ...]
    resize: tuple[int, int, int]
    extract: tuple[int, int]


SIZES = {
    "quick": Sizes(SMOLLM2[:3], (8, 512, 32), (512, 16)),
    "full": Sizes(2 * SMOLLM2, (224, 4096, 64), (4096, 64)),
}


def run(sizes: Sizes, repeats: int, threads: int) -> tuple[list[dict[str, Any]], str]:
    """All rows, and what the competitors are."""
    torch, _, _ = peft_step.packages()
    with _threads(torch, threads):
        rows = [merge(sizes.merge, repeats), resize(*sizes.resize, repeats)]
        for name, decay in DECAYS.items():
            delta, values = difference(sizes.extract[0], decay)
            rows += extract(name, delta, values, sizes.extract[1], repeats)
    return rows, f"{peft_step.versions()}, numpy {np.__version__}"


def merge(shapes: tuple[tuple[int, int], ...], repeats: int) -> dict[str, Any]:
    """The row of a merge."""
    torch, _, peft = peft_step.packages()
    torch.manual_seed(0)
    layers = {str(i): torch.nn.Linear(*shape, bias=False) for i, shape in enumerate(shapes)}
    settings = {"target_modules": list(layers), "init_lora_weights": False}
    names = ["first", "second"]
    configs = [peft.LoraConfig(r=rank, lora_alpha=2 * rank, **settings) for rank in RANKS]
    model = peft.PeftModel(torch.nn.ModuleDict(layers), configs[0], names[0])
    model.add_adapter(names[1], configs[1])
    tuned = model.base_model.model
    adapters = [_adapter(tuned, name) for name in names]

    def theirs():
        model.add_weighted_adapter(
            names, list(WEIGHTS), "sum", combination_type="svd", svd_rank=MERGED
        )
        changes = {path: tuned[path].get_delta_weight("sum").detach().numpy().T for path in layers}
        model.delete_adapter("sum")
        return changes

    def ours():
        joined = merging.merged(adapters, WEIGHTS).modules
        own = {path: spectra.spectrum(factors) for path, factors in joined.items()}
        return cutting.cut(own, ranks.of_rank(own, MERGED))

    errors = [[], []]
    cuts, changes = ours(), theirs()
    for path in layers:
        whole = sum(
            w * (a.modules[path].a @ a.modules[path].b)
            for w, a in zip(WEIGHTS, adapters, strict=True)
        )
        least = np.linalg.norm(np.linalg.svd(whole, compute_uv=False)[MERGED:])
        own = cuts[path].factors.a.astype(np.float64) @ cuts[path].factors.b
        for side, got in zip(errors, (own, changes[path]), strict=True):
            side.append(np.linalg.norm(whole - got) / least - 1)
    case = f"merge, {len(shapes)} maps, ranks {RANKS[0]} and {RANKS[1]} to {MERGED}"
    times = alternating([ours, theirs], repeats)
    return record("adapters", case, ("factors", "PEFT svd"), times, [max(e) for e in errors])


def resize(count: int, side: int, rank: int, repeats: int) -> dict[str, Any]:
    """The row of many cuts; a few modules stand for all."""
    rng, smaller = np.random.default_rng(0), rank // 8
    few = [
        Factors(*(rng.standard_normal(s).astype(np.float32) for s in ((side, rank), (rank, side))))
        for _ in range(min(count, 8))
    ]
    modules = [few[i % len(few)] for i in range(count)]

    def ours():
        return [spectra.spectrum(factors).prefix(smaller) for factors in modules]

    def theirs():
        return [_by_qr(factors, smaller) for factors in modules]

    least = spectra.spectrum(few[0]).error(smaller)
    errors = [spectra.distance(few[0], cut()[0]) / least - 1 for cut in (ours, theirs)]
    case = f"resize, {count} modules {side} x {side}, rank {rank} to {smaller}"
    times = alternating([ours, theirs], repeats)
    return record("adapters", case, ("factors", "numpy QR"), times, errors)


def difference(side: int, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """A matrix of random singular vectors, and its singular values i^-decay."""
    rng = np.random.default_rng(0)
    values = np.arange(1.0, side + 1) ** -decay
    left, right = (
        np.linalg.qr(rng.standard_normal((side, side)).astype(np.float32))[0] for _ in range(2)
    )
    return (left * values.astype(np.float32)) @ right, values


def extract(
    name: str, delta: np.ndarray, values: np.ndarray, rank: int, repeats: int
) -> list[dict[str, Any]]:
    """The rows of an extraction."""
    torch, _, _ = peft_step.packages()
    matrix, least, results = torch.from_numpy(delta), np.linalg.norm(values[rank:]), {}

    def ours():
        results["leading"] = leading(delta, rank)

    def lowrank():
        u, s, v = torch.svd_lowrank(matrix, q=rank)
        results["torch.svd_lowrank"] = u, s, v.T

    def whole():
        results["torch.linalg.svd"] = torch.linalg.svd(matrix, full_matrices=False)

    times = dict(zip(("own", "lowrank"), alternating([ours, lowrank], repeats), strict=True))
    times["whole"] = seconds(whole)
    above = results.pop("leading").error / least - 1
    case = f"extract, {len(delta)} x {len(delta)}, s_i = {name}, rank {rank}"
    rows = []
    for (competitor, (u, s, vt)), taken in zip(
        results.items(), (times["lowrank"], times["whole"]), strict=True
    ):
        missed = delta - ((u[:, :rank] * s[:rank]) @ vt[:rank]).numpy()
        errors = above, np.linalg.norm(missed.astype(np.float64)) / least - 1
        pair = times["own"], taken
        rows.append(record("adapters", case, ("leading", competitor), pair, errors))
    return rows


def _adapter(layers, name: str) -> Standalone:
    """What `standalone.read` makes of the folder of PEFT's adapter."""
    modules = {}
    for path, layer in layers.items():
        a, b = (side[name].weight.detach().numpy().T for side in (layer.lora_A, layer.lora_B))
        modules[path] = Factors(a.astype(np.float64) * layer.scaling[name], b.astype(np.float64))
    return Standalone(modules, frozenset(), {}, "float32", plain("base"))


def _by_qr(factors: Factors, rank: int) -> Factors:
    a, b = (np.asarray(factor, np.float64) for factor in factors)
    (q_a, r_a), (q_b, r_b) = np.linalg.qr(a), np.linalg.qr(b.T)
    left, values, right = np.linalg.svd(r_a @ r_b.T)
    root = np.sqrt(values[:rank])
    return Factors(q_a @ (left[:, :rank] * root), (q_b @ (right[:rank].T * root)).T)


@contextlib.contextmanager
def _threads(torch, threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
