"""Claims: what checkpoints save in memory, and what a new basis costs, by the compiler's count.

Legend: as in `cost`; L layers (d, d) on N tokens.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.structure.cost.claims import BYTES, ENTRY, FAST, LAYERS
from linear_theory.structure.cost.theory import Layer, full_operations, refresh_operations

SWEEPS = (1, 2)
EVERY, DEPTHS = (1, 2), (8, 16)  # one input in so many is stored, of so many layers
WIDTH, TOKENS = 8, 32


def draw_shares(key, trials: int) -> list[int]:
    """One stored input in so many layers, at most `trials` cases.

    Example:
      >>> draw_shares(jax.random.key(0), 256)
      [1, 2]
    """
    return list(EVERY)[:trials]


@functools.cache
def _temporary(every: int, depth: int) -> int:
    """Bytes that the gradient of ||W_L ... W_1 X||^2 holds beside its arguments and results."""

    def block(inputs, weights):
        for weight in weights:
            inputs = weight @ inputs
        return inputs, None

    def loss(weights, inputs):
        blocks = jax.checkpoint(block, prevent_cse=False)
        return jnp.sum(jax.lax.scan(blocks, inputs, weights)[0] ** 2)

    shapes = (depth // every, every, WIDTH, WIDTH), (WIDTH, TOKENS)
    arguments = (jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes)
    program = jax.jit(jax.grad(loss)).lower(*arguments).compile(compiler_options=FAST)
    return program.memory_analysis().temp_size_in_bytes


def _checkpoints(cases: list[int], saving: bool = True) -> Evidence:
    """Stored activations per layer, in bytes: the slope in the number of layers."""
    few, many = (np.array([_temporary(every, depth) for every in cases], float) for depth in DEPTHS)
    one = BYTES * WIDTH * TOKENS
    predicted = one / np.array(cases) if saving else float(one)
    return Evidence((many - few) / (DEPTHS[1] - DEPTHS[0]), predicted, True, 0.0)


def draw_refreshes(key, trials: int) -> list[tuple[Layer, int]]:
    """Layers and numbers of sweeps, at most `trials` pairs.

    Example:
      >>> len(draw_refreshes(jax.random.key(0), 256))
      10
    """
    return [(layer, sweeps) for layer in LAYERS for sweeps in SWEEPS][:trials]


@functools.cache
def _refresh_count(layer: Layer, sweeps: int) -> float:
    def refresh(weight, inputs, targets, basis):
        def loss(weight):
            return jnp.sum((weight @ inputs - targets) ** 2) / 2

        slope = jax.grad(loss)(weight)
        for _ in range(sweeps):
            basis = slope @ (slope.T @ basis)
        return basis

    m, n, tokens, r = layer[:4]
    shapes = ((m, n), (n, tokens), (m, tokens), (m, r))
    arguments = [jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes]
    program = jax.jit(refresh).lower(*arguments).compile(compiler_options=FAST)
    return program.cost_analysis()["flops"]


def _refresh(cases: list[tuple[Layer, int]], sweeping: bool = True) -> Evidence:
    counted = np.array([_refresh_count(*case) for case in cases])
    predicted = [
        float(refresh_operations(*case) if sweeping else full_operations(case[0])) for case in cases
    ]
    # Sums and scalings, as in `cost.operations`.
    tolerance = [float(ENTRY * layer.outputs * layer.tokens) for layer, _ in cases]
    return Evidence(counted, np.array(predicted), True, np.array(tolerance))


CLAIMS = (
    Claim(
        name="cost.refresh",
        source="arXiv 2503.19859, theorem 4, remark; counted in cost",
        statement="Products of matrices of a new basis: the full gradient, which no other step of "
        "an adapter with a fixed basis needs, and two products for each sweep.",
        formula="4mnN + 4mnr sweeps",
        kind="fit",
        status="new",
        instances=draw_refreshes,
        measure=_refresh,
        control=Control("without sweeps", functools.partial(_refresh, sweeping=False)),
    ),
    Claim(
        name="cost.checkpoints",
        source="arXiv 2503.19859, appendix B",
        statement="Layers that store one input in s, and compute the others again, hold 1/s of the "
        "activations: half of them for every other layer.",
        formula="memory of activations = d N L / s + a constant",
        kind="fit",
        status="as printed",
        instances=draw_shares,
        measure=_checkpoints,
        control=Control("the memory of all inputs", functools.partial(_checkpoints, saving=False)),
    ),
)
