"""Claims: training with projected gradients is training of adapters whose outer factor is frozen.

Legend: as in `gradient_projection`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm, orthogonal
from linear_theory.structure.gradient_projection import theory as gp

# A network of two layers on batches of samples; T steps per subspace, a few subspaces.
INPUTS, HIDDEN, OUTPUTS, SAMPLES, RANK = 5, 6, 4, 8, 2
STEPS, PHASES = 6, 4
# Two programs for one path part by rounding, in each of 24 steps by an eps of weights of norm 5,
# and the descent does not amplify that: 24 * 5 * 2e-16 = 3e-14, times a few. Adam's quotients are
# steeper by |dm/m|, tenfold for a first moment that is a tenth of its root mean square.
PATH, ADAM_PATH = 1e-13, 1e-12


class Tanh(NamedTuple):
    """Two-layer networks, their batches and step sizes.

    Attributes:
      weights: (n, 6, 5) and (n, 4, 6).
      inputs: (n, PHASES, STEPS, 5, 8). targets: (n, PHASES, STEPS, 4, 8).
      step: eta (n,). scale: s (n,).
      turn: rotations (n, 2, 2).
    """

    weights: gp.Weights
    inputs: np.ndarray
    targets: np.ndarray
    step: np.ndarray
    scale: np.ndarray
    turn: np.ndarray


def draw_tanh(key, trials: int) -> Tanh:
    """Random networks and targets; eta is log-uniform in (0.01, 0.2), s in (2, 8).

    Example:
      >>> import jax
      >>> draw_tanh(jax.random.key(0), 2).weights[0].shape
      (2, 6, 5)
    """
    rng = generator(key)
    weights = (
        rng.standard_normal((trials, HIDDEN, INPUTS)) / np.sqrt(INPUTS),
        rng.standard_normal((trials, OUTPUTS, HIDDEN)) / np.sqrt(HIDDEN),
    )
    inputs = rng.standard_normal((trials, PHASES, STEPS, INPUTS, SAMPLES))
    targets = rng.standard_normal((trials, PHASES, STEPS, OUTPUTS, SAMPLES))
    step = 10 ** rng.uniform(-2, -0.7, trials)
    turn = orthogonal(rng, trials, RANK, RANK)
    return Tanh(weights, inputs, targets, step, rng.uniform(2, 8, trials), turn)


def _loss(weights, batch):
    inputs, targets = batch
    error = weights[1] @ jnp.tanh(weights[0] @ inputs) - targets
    return jnp.sum(error**2) / (2 * SAMPLES)


_gradient = jax.jit(jax.vmap(jax.grad(_loss)))


@functools.cache
def _phase(kind: str, rule: gp.Rule, **options):
    """One phase of one method over all instances, compiled once."""
    if kind == "galore":
        return jax.jit(jax.vmap(functools.partial(gp.galore_phase, _loss, rule)))
    return jax.jit(jax.vmap(functools.partial(gp.relora_phase, _loss, rule, **options)))


def _train(network: Tanh, phase, reset=False, turned=False, extra=()) -> gp.Weights:
    """All phases, each in the subspace of the gradient on its first batch."""
    weights, moments = network.weights, None
    for index in range(PHASES):
        batches = network.inputs[:, index], network.targets[:, index]
        slopes = _gradient(weights, (batches[0][:, 0], batches[1][:, 0]))
        bases = gp.gradient_bases(slopes, RANK)
        if turned:
            bases = tuple(basis @ network.turn for basis in bases)
        if moments is None or reset:
            moments = jax.vmap(gp.no_moments)(weights, bases)
        weights, moments = phase(weights, moments, bases, batches, *extra)
    return weights


def _apart(one: gp.Weights, other: gp.Weights) -> np.ndarray:
    return sum(norm(np.asarray(a) - np.asarray(b)) for a, b in zip(one, other, strict=True))


def _same_path(network: Tanh, rule=gp.descent_rule, train_bases=False, reset=False) -> Evidence:
    eta = network.step / (1 if rule is gp.descent_rule else 4)
    galore = _train(network, _phase("galore", rule), extra=(eta,))
    adapter = _phase("relora", rule, train_bases=train_bases)
    relora = _train(network, adapter, reset=reset, extra=(eta,))
    tolerance = PATH if rule is gp.descent_rule else ADAM_PATH
    return Evidence(_apart(galore, relora), np.full(len(eta), tolerance))


def _turned(network: Tanh, rule=gp.descent_rule) -> Evidence:
    phase = _phase("galore", rule)
    straight = _train(network, phase, extra=(network.step,))
    turned = _train(network, phase, turned=True, extra=(network.step,))
    return Evidence(_apart(straight, turned), np.full(len(network.step), PATH))


def _scaled(network: Tanh, corrected: bool = True) -> Evidence:
    galore = _train(network, _phase("galore", gp.descent_rule), extra=(network.step,))
    eta = network.step / network.scale**2 if corrected else network.step
    adapter = _phase("relora", gp.descent_rule)
    relora = _train(network, adapter, extra=(eta, network.scale))
    return Evidence(_apart(galore, relora), np.full(len(eta), PATH))


SOURCE = "arXiv 2503.19859, theorem 4"


CLAIMS = (
    Claim(
        name="gradient_projection.galore_is_relora",
        source=SOURCE,
        statement="Gradient descent: projected gradients and adapters with a frozen outer factor "
        "take the same path, for the same subspaces and batches.",
        formula="W - eta B B^T G  =  W + B A,  A <- A - eta grad_A,  B = U_r(G)",
        kind="identity",
        status="as printed",
        instances=draw_tanh,
        measure=_same_path,
        control=Control(
            "both factors trained, as in LoRA", functools.partial(_same_path, train_bases=True)
        ),
    ),
    Claim(
        name="gradient_projection.adam",
        source=SOURCE,
        statement="Adam: only if both carry the moments of the r x n gradients over a change of "
        "subspace.",
        formula="W - eta B rho(B^T G)  =  W + B A,  A <- A - eta rho(grad_A)",
        kind="identity",
        status="with a condition",
        instances=draw_tanh,
        measure=functools.partial(_same_path, rule=gp.adam_rule),
        control=Control(
            "moments reset with the adapters",
            functools.partial(_same_path, rule=gp.adam_rule, reset=True),
        ),
    ),
    Claim(
        name="gradient_projection.basis",
        source=SOURCE,
        statement="Gradient descent sees the subspace alone, not its basis.",
        formula="B -> B Q leaves the path as it is, Q orthogonal",
        kind="identity",
        status="with a condition",
        instances=draw_tanh,
        measure=_turned,
        control=Control(
            "Adam, which works entry by entry", functools.partial(_turned, rule=gp.adam_rule)
        ),
    ),
    Claim(
        name="gradient_projection.scale",
        source=SOURCE,
        statement="Adapters with a scale s need a step size eta/s^2 for the same path.",
        formula="W + s B A,  A <- A - eta/s^2 grad_A",
        kind="identity",
        status="with a condition",
        instances=draw_tanh,
        measure=_scaled,
        control=Control("the same step size", functools.partial(_scaled, corrected=False)),
    ),
)
