"""Claims: what a step costs, against what the compiler counts in its own program.

Legend: as in `cost`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.structure.cost import theory as cost
from linear_theory.structure.cost.theory import Layer
from linear_theory.structure.deep_linear.theory import product

# Every program is compiled, so a few sizes have to do. What the compiler counts does not depend on
# how much it optimises after counting.
LAYERS = (
    Layer(16, 24, 64, 2),
    Layer(24, 16, 96, 1),
    Layer(32, 12, 80, 3),
    Layer(12, 32, 128, 2, depth=2),
    Layer(20, 20, 100, 4, depth=4),
)
FAST = {"xla_llvm_disable_expensive_passes": True, "xla_backend_optimization_level": 0}
BYTES = 8  # of a float64
# Operations of a step of Adam per trained entry, and of sums and scalings per other entry.
ADAM, ENTRY = 16, 3


class Method(NamedTuple):
    """A way to train a layer.

    Attributes:
      operations, numbers: the formulas.
      apply: (frozen, trained, inputs) -> outputs.
      frozen, trained: shapes of the arrays, from the sizes.
      project: whether the gradient is projected on the second frozen array.
    """

    operations: Callable[[Layer], int]
    numbers: Callable[[Layer], int]
    apply: Callable
    frozen: Callable[[Layer], tuple]
    trained: Callable[[Layer], tuple]
    project: bool = False


def _weight(layer: Layer) -> tuple:
    return ((layer.outputs, layer.inputs),)


def _pair(layer: Layer) -> tuple:
    return (layer.outputs, layer.rank), (layer.rank, layer.inputs)


def _frames(layer: Layer) -> tuple:
    size = 2 * layer.rank
    return *_weight(layer), (layer.outputs, size), (layer.inputs, size)


METHODS = {
    "full": Method(
        cost.full_operations,
        cost.full_numbers,
        lambda frozen, trained, x: trained[0] @ x,
        lambda layer: (),
        _weight,
    ),
    "adapter": Method(
        cost.adapter_operations,
        cost.adapter_numbers,
        lambda frozen, trained, x: frozen[0] @ x + trained[0] @ (trained[1] @ x),
        _weight,
        _pair,
    ),
    "merged": Method(
        cost.merged_operations,
        cost.adapter_numbers,
        lambda frozen, trained, x: (frozen[0] + trained[0] @ trained[1]) @ x,
        _weight,
        _pair,
    ),
    "factored": Method(
        cost.factored_operations,
        cost.factored_numbers,
        lambda frozen, trained, x: trained[0] @ (trained[1] @ x),
        lambda layer: (),
        _pair,
    ),
    "projected": Method(
        cost.projected_operations,
        cost.projected_numbers,
        lambda frozen, trained, x: trained[0] @ x,
        lambda layer: _pair(layer)[:1],
        _weight,
        project=True,
    ),
    "deep": Method(
        cost.deep_operations,
        cost.deep_numbers,
        lambda frozen, trained, x: frozen[0] @ x + frozen[1] @ product((frozen[2].T @ x, *trained)),
        _frames,
        lambda layer: ((2 * layer.rank, 2 * layer.rank),) * layer.depth,
    ),
}


def draw_layers(key, trials: int) -> list[tuple[str, Layer]]:
    """The layers of `LAYERS` under each method, at most `trials` of these pairs.

    Example:
      >>> len(draw_layers(jax.random.key(0), 7)), len(draw_layers(jax.random.key(0), 256))
      (7, 30)
    """
    return [(method, layer) for layer in LAYERS for method in METHODS][:trials]


def _slopes(method: Method, frozen, trained, inputs, targets):
    def loss(trained):
        return jnp.sum((method.apply(frozen, trained, inputs) - targets) ** 2) / 2

    slopes = jax.grad(loss)(trained)
    return (frozen[0].T @ slopes[0],) if method.project else slopes


def _adam(method: Method, frozen, trained, moments, inputs, targets):
    """A step of Adam without bias correction: weights and moments before, and after."""
    slopes = _slopes(method, frozen, trained, inputs, targets)
    first = [0.9 * m + 0.1 * g for m, g in zip(moments[0], slopes, strict=True)]
    second = [0.99 * v + 0.01 * g**2 for v, g in zip(moments[1], slopes, strict=True)]
    moves = [m / (jnp.sqrt(v) + 1e-8) for m, v in zip(first, second, strict=True)]
    moves = [frozen[0] @ moves[0]] if method.project else moves
    return [w - 1e-3 * move for w, move in zip(trained, moves, strict=True)], (first, second)


def _shapes(shapes) -> tuple:
    return tuple(jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes)


def _data(layer: Layer) -> tuple:
    return (layer.inputs, layer.tokens), (layer.outputs, layer.tokens)


@functools.cache
def compiled_count(name: str, layer: Layer) -> tuple[float, int]:
    """Operations of a step of Adam, and bytes it takes in beside the data, by the compiler."""
    method = METHODS[name]
    trained = _shapes(method.trained(layer))
    moment = _shapes([(layer.rank, layer.inputs)]) if method.project else trained
    arguments = _shapes(method.frozen(layer)), trained, (moment, moment), *_shapes(_data(layer))
    step = jax.jit(functools.partial(_adam, method))
    program = step.lower(*arguments).compile(compiler_options=FAST)
    data = BYTES * _entries(_data(layer))
    taken = program.memory_analysis().argument_size_in_bytes
    return program.cost_analysis()["flops"], taken - data


def _entries(shapes) -> int:
    return sum(rows * columns for rows, columns in shapes)


def _operations(cases, exchanged=None) -> Evidence:
    counted = [compiled_count(*case)[0] for case in cases]
    names = [(exchanged or {}).get(name, name) for name, _ in cases]
    predicted = [
        METHODS[name].operations(layer) for name, (_, layer) in zip(names, cases, strict=True)
    ]
    tolerance = [
        ADAM * _entries(METHODS[name].trained(layer))
        + ENTRY * _entries((*METHODS[name].frozen(layer), *_data(layer)))
        for name, layer in cases
    ]
    sides = (np.array(side, float) for side in (counted, predicted, tolerance))
    measured, bound, room = sides
    return Evidence(measured, bound, True, room)


def _numbers(cases, exchanged=None) -> Evidence:
    counted = np.array([compiled_count(*case)[1] for case in cases], float)
    names = [(exchanged or {}).get(name, name) for name, _ in cases]
    numbers = [METHODS[name].numbers(layer) for name, (_, layer) in zip(names, cases, strict=True)]
    return Evidence(counted, BYTES * np.array(numbers, float), True, 0.0)


# Adapters on weights cost what adapters on activations are said to, and so on round.
EXCHANGED = {"merged": "adapter", "adapter": "merged", "deep": "adapter", "projected": "full"}

CLAIMS = (
    Claim(
        name="cost.operations",
        source="arXiv 2503.19859, appendix B; counted in cost",
        statement="Products of matrices in a step, by the compiler's count of its program: "
        "full training, adapters on activations and on weights, factors alone, projected, deep.",
        formula="4mnN;  2mnN + 4rnN + 6rmN;  4mnN + 6mnr;  4rnN + 6rmN;  4mnN + 4mnr;  "
        "2mnN + 2knN + 4kmN + 2k^2 N (3L-1)",
        kind="fit",
        status="new",
        instances=draw_layers,
        measure=_operations,
        control=Control(
            "the formula of another method", functools.partial(_operations, exchanged=EXCHANGED)
        ),
    ),
    Claim(
        name="cost.numbers",
        source="arXiv 2403.03507, table 1; arXiv 2503.19859, appendix B",
        statement="Numbers kept by a step of Adam, by the compiler's count of its arguments.",
        formula="3mn;  mn + 3r(m+n);  3r(m+n);  mn + mr + 2rn;  mn + k(m+n) + 3Lk^2",
        kind="fit",
        status="as printed",
        instances=draw_layers,
        measure=_numbers,
        control=Control(
            "the formula of another method",
            functools.partial(_numbers, exchanged={"projected": "adapter", "deep": "adapter"}),
        ),
    ),
)
