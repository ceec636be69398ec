"""One case of the accelerator suite, in a process of its own.

python -m launch.bench.accelerator_cases '{...}'

The argument is a JSON object: case, a name of `CASES`; dtype; size, a name of `SIZES`; model, a
folder with a BERT or null; and rates, what the case "rates" has told. Every row is printed as a
line of JSON as soon as it is measured, after a line with the device.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import deflation
from launch.bench import decompose_rates, generation_suite, lora_step, moments_suite
from launch.bench.decompose_suite import spectral
from launch.bench.rows import record
from launch.bench.timing import alternating

SUITE = "accelerator"
MINILM = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
"""Of all-MiniLM-L6-v2; the weights are random where no folder is given."""


@dataclasses.dataclass(frozen=True)
class Size:
    """Side of the products and floats of the sweep; (m, d, rank) that are taken apart; of the
    streams, of a batch (rows, tokens) and of the text; the network of a made model; repetitions."""

    side: int
    floats: int
    shape: tuple[int, int, int]
    moments: moments_suite.Size
    batch: tuple[int, int]
    generation: generation_suite.Size
    network: dict[str, Any] = dataclasses.field(default_factory=lambda: MINILM)
    repeats: int = 5


BLOCK = moments_suite.BLOCK
SIZES = {
    "quick": Size(
        1024,
        2**24,
        (512, 512, 64),
        moments_suite.Size(512, 128, 16 * BLOCK, 4 * BLOCK),
        (8, 16),
        generation_suite.SIZES["quick"],
    ),
    "full": Size(
        8192,
        2**28,
        (8192, 8192, 64),
        moments_suite.Size(4096, 1024, 64 * BLOCK, 8 * BLOCK),
        (32, 64),
        generation_suite.SIZES["full"],
        repeats=9,
    ),
}
Rows = Iterator[dict[str, Any]]


def main(payload: dict) -> Iterator[dict[str, Any]]:
    """The device, then the rows."""
    device = jax.devices()[0]
    yield {"device": f"{device.device_kind} ({device.platform}), jax {jax.__version__}"}
    yield from CASES[payload["case"]](SIZES[payload["size"]], payload)


def rates(size: Size, payload: dict) -> Rows:
    """What the other cases are held against: products, and bytes read and written."""
    del payload
    full = jax.lax.Precision.HIGHEST
    for name, dtype, precision in (
        ("float32", jnp.float32, full),
        ("float32, as many bits as the device likes", jnp.float32, None),
        ("bfloat16", jnp.bfloat16, None),
    ):
        matrix = jnp.ones((size.side, size.side), dtype)
        product = jax.jit(lambda x, precision=precision: jnp.matmul(x, x, precision=precision))
        seconds = _seconds(lambda: product(matrix).block_until_ready(), size)  # noqa: B023
        rate = 2 * size.side**3 / seconds
        case = f"a product, {size.side} x {size.side}, {name}"
        yield _row(case, "XLA", f"{rate / 1e9:.4g} GFLOP/s", (seconds, None), rate={name: rate})
    x = jnp.zeros(size.floats, jnp.float32)
    sweep = jax.jit(lambda x: x + 1)
    seconds = _seconds(lambda: sweep(x).block_until_ready(), size)
    rate = 2 * x.nbytes / seconds
    case = f"a sweep through {x.nbytes / 1e6:.0f} MB"
    yield _row(case, "XLA", f"{rate / 1e9:.4g} GB/s", (seconds, None), rate={"memory": rate})


def decompose(size: Size, payload: dict) -> Rows:
    """A matrix from a sketch and one consistent round, and by the device's own decomposition."""
    m, d, rank = size.shape
    problem = deflation.Regression.from_matrix(spectral("noisy", m, d, rank))
    solver, how = deflation.alternating(consistent=True), deflation.Sketch()

    def ours():
        state = deflation.advance(deflation.start(problem, rank, solver, init=how), 1)
        jax.block_until_ready(deflation.finish(state, certify=False).components)

    seconds = _seconds(ours, size)
    _, width, depth = how.shape(rank, min(m, d))
    # Products with M alone, of every block and of the round, each of which reads all of M.
    flops, moved = 4 * m * d * (width * depth + rank), 4 * m * d * 2 * (depth + 1)
    case = f"{m} x {d}, r = {rank}, from a sketch"
    yield _beside(case, "parallel", seconds, flops, moved, payload)
    whole = jax.jit(lambda matrix: jnp.linalg.svd(matrix, full_matrices=False))

    def theirs():
        jax.block_until_ready(whole(problem.target))

    svd = _seconds(theirs, dataclasses.replace(size, repeats=1))
    yield _row(case, "parallel", "jnp.linalg.svd", (seconds, svd))


def rounds(size: Size, payload: dict) -> Rows:
    """A round beside its products."""
    del payload
    yield decompose_rates.round_row(*size.shape, size.repeats) | {"suite": SUITE}


def moments(size: Size, payload: dict) -> Rows:
    """Streamed moments beside their products, and the host's factorisation."""
    del payload
    yield from (row | {"suite": SUITE} for row in moments_suite.run(size.moments)[0])


def lora(size: Size, payload: dict) -> Rows:
    """A LoRA step, forward, backward and optimiser."""
    dtype = payload["dtype"]
    with tempfile.TemporaryDirectory() as folder:
        model = payload["model"] or _made(size, folder)
        base = lora_step.base(model, *size.batch, dtype)
    step = lora_step.trained(base, "lora", rank=8, alpha=16.0)
    tokens = " x ".join(map(str, size.batch))
    case = f"a LoRA step, {tokens} tokens, rank 8, {dtype}"
    yield _beside(case, "LoRA", _seconds(step, size), step.flops, step.bytes, payload)


def generation(size: Size, payload: dict) -> Rows:
    """A token with its cache beside reading the weights once."""
    dtype = payload["dtype"]
    rows, _ = generation_suite.run(size.generation, dtype)
    yield from (row | {"suite": SUITE, "case": f"{row['case']}, {dtype}"} for row in rows)


CASES: dict[str, Callable[[Size, dict], Rows]] = {
    "rates": rates,
    "decompose": decompose,
    "round": rounds,
    "moments": moments,
    "lora": lora,
    "generation": generation,
}


def _made(size: Size, folder: str) -> str:
    from finetune.models.bert import BertConfig
    from finetune.models.initialise import initialise
    from finetune.weights import saving

    config = BertConfig(num_labels=lora_step.LABELS, **size.network)
    saving.save(folder, initialise(config, jax.random.key(0)))
    return folder


def _seconds(call: Callable[[], object], size: Size) -> float:
    call()  # compiles
    return alternating([call], size.repeats)[0]


def _beside(case: str, name: str, seconds: float, flops: float, moved: float, payload) -> dict:
    """A row beside the roofline: the longer of its operations and of its bytes at their rates."""
    rates = payload["rates"]
    parts = {
        "products": flops / rates[payload["dtype"]] if payload["dtype"] in rates else None,
        "memory": moved / rates["memory"] if "memory" in rates else None,
    }
    known = {key: value for key, value in parts.items() if value is not None}
    limit = max(known, key=known.get, default=None)
    other = "roofline, unknown" if limit is None else f"roofline, {limit}"
    pair = seconds, known.get(limit)
    return _row(case, name, other, pair, flops=flops, bytes=moved)


def _row(case: str, ours: str, other: str, seconds, **more) -> dict[str, Any]:
    return record(SUITE, case, (ours, other), seconds, (None, None), **more)


if __name__ == "__main__":
    for told in main(json.loads(sys.argv[1])):
        print(json.dumps(told), flush=True)
