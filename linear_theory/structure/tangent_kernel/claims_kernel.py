"""Claims: how well training of the linearised adapter predicts training of the adapter.

Legend: as in `tangent_kernel`; a the size of A_0, delta the size of what has to be learned.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm
from linear_theory.structure.tangent_kernel import theory as tk

OUTPUTS, HIDDEN, INPUTS, SAMPLES, RANK, STEPS = 3, 4, 5, 6, 2, 30
# An exponent is a difference of logarithms at sizes that differ by a factor of two. The next term
# of either expansion is smaller by a square of these sizes (A_0), or by the size itself (delta),
# times a ratio of two random tensors: 4 here, and up to 700 where the first may nearly vanish.
LARGE, SMALL = 32.0, 1e-4
LARGE_TOLERANCE, SMALL_TOLERANCE = 4 / LARGE**2, 0.1


class Adapted(NamedTuple):
    """Models V tanh((W + B A) X) or (W + B A) X, from B_0 = 0.

    Attributes:
      weight: W (n, 4, 5). outer: V (n, 3, 4). adapter: A_0 (n, 2, 5), of size one.
      inputs: X (n, 5, 6). change: directions to learn, (n, 4, 6) and (n, 3, 6).
      step: eta (n,) for A_0 of size one.
    """

    weight: np.ndarray
    outer: np.ndarray
    adapter: np.ndarray
    inputs: np.ndarray
    change: tuple[np.ndarray, np.ndarray]
    step: np.ndarray


def draw_adapted(key, trials: int) -> Adapted:
    """Gaussian models and directions, eta up to 0.8 / lambda_max of the kernel.

    Example:
      >>> import jax
      >>> draw_adapted(jax.random.key(0), 2).adapter.shape
      (2, 2, 5)
    """
    rng = generator(key)

    def gaussian(*shape):
        return rng.standard_normal((trials, *shape)) / np.sqrt(shape[-1])

    adapter, inputs = gaussian(RANK, INPUTS), rng.standard_normal((trials, INPUTS, SAMPLES))
    outer = gaussian(OUTPUTS, HIDDEN)
    # The network's kernel is at most ||V||_2^2 that of the linear model, as tanh' <= 1.
    largest = np.linalg.norm(adapter @ inputs, 2, axis=(1, 2)) ** 2
    largest = largest * np.maximum(1, np.linalg.norm(outer, 2, axis=(1, 2)) ** 2)
    step = rng.uniform(0.2, 0.8, trials) / largest
    change = gaussian(HIDDEN, SAMPLES), gaussian(OUTPUTS, SAMPLES)
    return Adapted(gaussian(HIDDEN, INPUTS), outer, adapter, inputs, change, step)


def _both(curved: bool, problem: Adapted, first: jax.Array, size: jax.Array, delta: jax.Array):
    """f_0 and the predictions after training, of the model and of its linearisation."""

    def model(theta):
        image = (problem.weight + theta[0] @ theta[1]) @ problem.inputs
        return problem.outer @ jnp.tanh(image) if curved else image

    start = first, size * problem.adapter
    before = model((0 * first, start[1]))
    targets = before + delta * problem.change[int(curved)]
    models = model, tk.linearised(model, start)
    step = problem.step / size**2
    ends = [tk.descend_model(f, start, targets, step, STEPS) for f in models]
    kernel = tk.adapter_kernel(start[1], problem.inputs)
    residual = model(start) - targets
    return before, *ends, targets + tk.kernel_descent(residual, kernel, step, STEPS)


@functools.cache
def _program(curved: bool):
    return jax.jit(jax.vmap(functools.partial(_both, curved)))


def _train(problem: Adapted, curved: bool, size: float, delta: float, first=0.0):
    trials = len(problem.step)
    start = first * np.ones((trials, HIDDEN, RANK)) / np.sqrt(RANK)
    sizes = np.full(trials, size), np.full(trials, delta)
    return [np.asarray(end) for end in _program(curved)(problem, start, *sizes)]


def _kernel(problem: Adapted, first: float = 0.0) -> Evidence:
    _, _, linear, formula = _train(problem, False, 1.0, 1.0, first)
    size = norm(linear) + norm(formula)
    return Evidence(norm(linear - formula), STEPS * 4 * np.finfo(np.float64).eps * size)


def _deviation(problem: Adapted, curved: bool, size: float, delta: float) -> np.ndarray:
    """How far the model comes from its linearisation, relative to how far it moves."""
    before, real, linear, _ = _train(problem, curved, size, delta)
    return norm(real - linear) / norm(linear - before)


def _size_exponent(problem: Adapted, predicted: float = -4.0) -> Evidence:
    near, far = (_deviation(problem, False, size, 1.0) for size in (LARGE, 2 * LARGE))
    return Evidence(np.log2(far / near), predicted, True, LARGE_TOLERANCE)


def _change_exponent(problem: Adapted, curved: bool = True) -> Evidence:
    near, far = (_deviation(problem, curved, 1.0, delta) for delta in (SMALL, 2 * SMALL))
    return Evidence(np.log2(far / near), 1.0, True, SMALL_TOLERANCE)


CLAIMS = (
    Claim(
        name="tangent_kernel.adapter",
        source="derived in tangent_kernel",
        statement="Linearised at B_0 = 0, an adapter on a linear model trains B alone, by its "
        "kernel.",
        formula="f_T - Y = (f_0 - Y) (I - eta (A_0 X)^T (A_0 X))^T",
        kind="identity",
        status="new",
        instances=draw_adapted,
        measure=_kernel,
        control=Control("B_0 != 0, the same kernel", functools.partial(_kernel, first=1.0)),
    ),
    Claim(
        name="tangent_kernel.adapter_size",
        source="derived in tangent_kernel",
        statement="The linearisation predicts training of a linear model up to the size of A_0 to "
        "the power -4, at step sizes of equal kernels: B is of order 1/a and moves A by a^-3.",
        formula="||f_T - f_T^lin|| / ||f_T^lin - f_0|| ~ a^-4, eta ~ a^-2",
        kind="fit",
        status="new",
        instances=draw_adapted,
        measure=_size_exponent,
        control=Control("a^-2", functools.partial(_size_exponent, predicted=-2.0)),
    ),
    Claim(
        name="tangent_kernel.change_size",
        source="derived in tangent_kernel",
        statement="In a network it predicts training up to the size of the change alone, whatever "
        "A_0, for its layers are curved in W + B A.",
        formula="||f_T - f_T^lin|| / ||f_T^lin - f_0|| ~ delta",
        kind="fit",
        status="new",
        instances=draw_adapted,
        measure=_change_exponent,
        control=Control(
            "a linear model, where it is delta^2", functools.partial(_change_exponent, curved=False)
        ),
    ),
)
