"""Claims: the margin of homogeneous networks, for other losses and many classes.

Legend: f(x) = A s(W x) (K outputs), s a leaky ReLU, homogeneous of degree p = 2 in Theta = (W, A);
margins q_i = y_i f(x_i), or -log sum_{j != y_i} exp(f_j - f_{y_i}) for K > 1; loss L = sum_i l(q_i)
with l(q) = exp(-q) or log(1 + exp(-q)), which for K > 1 is the cross-entropy. The smoothed margin
l^-1(L) is at most min_i q_i; beta the cosine of Theta with -grad L, 1 at a stationary point of the
largest normalised margin. The flow is followed in steps that raise l^-1(L) by about `RISE`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, per_group, shares, squared_norm

FEATURES, WIDTH, SAMPLES, CLASSES = 4, 6, 5, 3
LEAK = 0.2  # slope of the leaky ReLU below zero
STEPS, RECORDED, RISE = 400, 40, 0.05
FAR = 30  # beyond this margin both losses are one
EPS = np.finfo(np.float64).eps
SOURCE = "arXiv 2503.19859, section 4.3; arXiv 1906.05890"


class Network(NamedTuple):
    """w (n, 6, 4), a (n, K, 6), inputs (n, 5, 4), labels (n, 5); is_exponential: which l."""

    w: np.ndarray
    a: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    is_exponential: bool


def draw_networks(key, trials: int) -> list[Network]:
    """Exponential loss, logistic loss and cross-entropy in turn; labels are the network's own.

    Example:
      >>> import jax
      >>> [len(group.w) for group in draw_networks(jax.random.key(0), 4)]
      [2, 1, 1]
    """
    rng, groups = generator(key), []
    kinds = ((1, True), (1, False), (CLASSES, False))
    for count, (outputs, is_exponential) in zip(shares(trials, len(kinds)), kinds, strict=True):
        if not count:
            continue
        w = rng.standard_normal((count, WIDTH, FEATURES))
        a = rng.standard_normal((count, outputs, WIDTH))
        inputs = rng.standard_normal((count, SAMPLES, FEATURES))
        values = _leaky(inputs @ w.mT) @ a.mT
        if outputs > 1:
            labels, (second, first) = values.argmax(axis=2), np.sort(values, axis=2).T[-2:]
            lead = (first - second).T
        else:
            labels, lead = np.sign(values[:, :, 0]), np.abs(values[:, :, 0])
        # A loss below that of one point on the boundary, from where on the margin rises.
        wanted = np.log(2 * SAMPLES * CLASSES)
        scale = np.sqrt(wanted / lead.min(axis=1))[:, None, None]
        groups.append(Network(scale * w, scale * a, inputs, labels, is_exponential))
    return groups


def _leaky(inner: np.ndarray) -> np.ndarray:
    return np.maximum(inner, LEAK * inner)


def _margins(network: Network, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q_i (n, 5), and their slopes in the outputs (n, 5, K)."""
    if values.shape[2] == 1:
        return network.labels * values[:, :, 0], network.labels[:, :, None]
    own = np.eye(CLASSES)[network.labels]
    others = np.where(own, -np.inf, values - np.sum(own * values, axis=2, keepdims=True))
    top = others.max(axis=2, keepdims=True)
    weights = np.exp(others - top)
    total = weights.sum(axis=2, keepdims=True)
    return -(top + np.log(total))[:, :, 0], own - weights / total


def _smoothed(network: Network, margins: np.ndarray) -> np.ndarray:
    """l^-1(L) from margins (n, 5), (n,)."""
    logs = -margins
    if not network.is_exponential:
        near = np.minimum(margins, FAR)
        logs = np.where(margins > FAR, logs, np.log(np.logaddexp(0, -near)))
    loss = np.logaddexp.reduce(logs, axis=1)
    if network.is_exponential:
        return -loss
    near = np.maximum(loss, -FAR)
    return np.where(loss < -FAR, -loss, -np.log(np.expm1(np.exp(near))))


class Pull(NamedTuple):
    """-grad L over |l'(l^-1(L))| in both layers, (n, 6, 4) and (n, K, 6), and l^-1(L) (n,)."""

    w: np.ndarray
    a: np.ndarray
    smoothed: np.ndarray


def _pull(network: Network) -> Pull:
    inner = network.inputs @ network.w.mT
    margins, slopes = _margins(network, _leaky(inner) @ network.a.mT)
    smoothed = _smoothed(network, margins)
    logs = [-q if network.is_exponential else -np.logaddexp(0, q) for q in (margins, smoothed)]
    outer = np.exp(logs[0] - logs[1][:, None])[:, :, None] * slopes
    back = (outer @ network.a) * np.where(inner > 0, 1, LEAK)
    return Pull(back.mT @ network.inputs, outer.mT @ _leaky(inner), smoothed)


class Path(NamedTuple):
    """smoothed l^-1(L), size ||Theta||^2 and angle beta^-2 - 1 along the run, (n, T + 1)."""

    smoothed: np.ndarray
    size: np.ndarray
    angle: np.ndarray


def _follow(network: Network) -> Path:
    records = []
    for _ in range(STEPS + 1):
        w, a, smoothed = _pull(network)
        size, slope = (squared_norm(x) + squared_norm(y) for x, y in (network[:2], (w, a)))
        inner = np.sum(network.w * w, axis=(1, 2)) + np.sum(network.a * a, axis=(1, 2))
        records.append((smoothed, size, size * slope / inner**2 - 1))
        rate = (RISE / slope)[:, None, None]
        network = network._replace(w=network.w + rate * w, a=network.a + rate * a)
    return Path(*(np.stack(record, axis=1) for record in zip(*records, strict=True)))


def _rising(network: Network, degree: int = 2) -> Evidence:
    path = _follow(network)
    margin = (path.smoothed / path.size ** (degree / 2))[:, ::RECORDED]
    return Evidence(margin[:, 1:], margin[:, :-1])


def _stationary(network: Network, start: bool = False) -> Evidence:
    path = _follow(network)
    rise, growth = (np.log(x[:, -1] / x[:, 0]) for x in (path.smoothed, path.size))
    angle = path.angle[:, 0] if start else path.angle.min(axis=1)
    return Evidence(angle, rise / growth - 1)


def _balanced(network: Network, layers: bool = True) -> Evidence:
    """d/dt (||w_j||^2 - ||a_j||^2) / 2 for every neuron, or with a_j of its neighbour."""
    pull = _pull(network)
    inwards = np.sum(network.w * pull.w, axis=2)
    outwards = np.sum(network.a * pull.a, axis=1)
    scale = np.sqrt(squared_norm(network.w) * squared_norm(pull.w))[:, None]
    outwards = outwards if layers else np.roll(outwards, 1, axis=1)
    return Evidence(np.abs(inwards - outwards) / scale, 20 * EPS)


CLAIMS = (
    Claim(
        name="margin.homogeneous",
        source=SOURCE,
        statement="Homogeneous networks under exponential loss, logistic loss and cross-entropy: "
        "once the loss is below that of one point on the boundary the normalised margin rises.",
        formula="l^-1(L)/||Theta||^p never falls along the gradient flow",
        kind="lower",
        status="with a condition",
        instances=draw_networks,
        measure=per_group(_rising),
        control=Control("over ||Theta||^{3p}", per_group(functools.partial(_rising, degree=6))),
    ),
    Claim(
        name="margin.homogeneous_stationary",
        source=SOURCE,
        statement="Their direction comes as near to a stationary point of the largest margin as "
        "the margin that is gained allows, which is bounded while the norm grows.",
        formula="min_t (beta^-2 - 1) <= log(gain of margin/||Theta||^p) / log(gain of ||Theta||^p)",
        kind="upper",
        status="with a condition",
        instances=draw_networks,
        measure=per_group(_stationary),
        control=Control("at the start", per_group(functools.partial(_stationary, start=True))),
    ),
    Claim(
        name="margin.homogeneous_balance",
        source="arXiv 1806.00900, theorem 2.1; arXiv 2503.19859, section 4.3",
        statement="Each neuron keeps the difference of the energies before and behind it, for any "
        "of these losses.",
        formula="d/dt (||w_j||^2 - ||a_j||^2) = 0",
        kind="identity",
        status="new",
        instances=draw_networks,
        measure=per_group(_balanced),
        control=Control(
            "its neighbour behind it", per_group(functools.partial(_balanced, layers=False))
        ),
    ),
)
