"""Claims: one projection is the answer in every metric, and what a wrong metric costs.

Legend: as in `compression`.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm, squared_norm
from linear_theory.structure.compression import theory as compression
from linear_theory.structure.compression.instances import (
    COLUMNS,
    RANK,
    Layer,
    draw_extremal,
    draw_few,
    draw_layers,
)

EPS = np.finfo(np.float64).eps


def _loss(layer: Layer, model: np.ndarray) -> np.ndarray:
    return squared_norm((layer.weight - model) @ layer.inputs)


def _tail(layer: Layer, rank: int = RANK) -> np.ndarray:
    return compression.tail(layer.weight @ layer.inputs, rank)


def _shrunk(layer: Layer, share: float) -> np.ndarray:
    mean = np.trace(layer.gram, axis1=1, axis2=2)[:, None, None] / COLUMNS
    return layer.gram + share * mean * np.eye(COLUMNS)


def _inverse_free(layer: Layer, plain: bool = False) -> Evidence:
    metric = np.eye(COLUMNS) if plain else layer.gram
    return Evidence(_loss(layer, compression.project(layer.weight, metric, RANK)), _tail(layer))


def _singular(layer: Layer, added: float = 0.0) -> Evidence:
    rank = 2  # below that of W0 X
    if added:
        model = compression.whitened(layer.weight, _shrunk(layer, added), rank)
    else:
        model = compression.project(layer.weight, layer.gram, rank)
    return Evidence(_loss(layer, model), _tail(layer, rank))


def _projection(layer: Layer, inputs: bool = False) -> Evidence:
    """Vectors turn by rounding times the condition of the root, over the gap after r."""
    model = compression.whitened(layer.weight, layer.gram, RANK)
    if inputs:
        v = compression.directions(layer.weight.mT @ layer.weight, RANK)
        other = layer.weight @ v @ v.mT
    else:
        other = compression.project(layer.weight, layer.gram, RANK)
    values = np.linalg.svd(layer.weight @ layer.inputs, compute_uv=False)
    gap = (values[:, RANK - 1] ** 2 - values[:, RANK] ** 2) / values[:, 0] ** 2
    condition = np.linalg.cond(layer.inputs)
    tolerance = EPS * condition * norm(layer.weight) / gap
    return Evidence(norm(model - other), tolerance)


def _price(layer: Layer, power: float = 1.0) -> Evidence:
    """T = diag(S) against S, through the extreme eigenvalues of S^{-1/2} T S^{-1/2}."""
    diagonal = layer.gram * np.eye(layer.gram.shape[1])
    half = compression.root(layer.gram, -0.5)
    ratio = np.linalg.eigvalsh(half @ diagonal @ half)
    model = compression.project(layer.weight, diagonal, RANK)
    return Evidence(_loss(layer, model), (ratio[:, -1] / ratio[:, 0]) ** power * _tail(layer))


def _price_extremal(layer: Layer) -> Evidence:
    beta = layer.weight[:, 0, 0] ** 2 / 0.999
    metric = np.zeros_like(layer.gram)
    metric[:, 0, 0], metric[:, 1, 1] = 1, beta
    model = compression.project(layer.weight, metric, 1)
    return Evidence(_loss(layer, model), beta**0.5 * _tail(layer, 1))


def _square(layer: Layer, attained: bool = False) -> Evidence:
    loss = _loss(layer, compression.project(layer.weight, layer.gram @ layer.gram, RANK))
    return Evidence(*((_tail(layer), loss) if attained else (loss, _tail(layer))))


def _prefixes(layer: Layer, mixed: bool = False) -> Evidence:
    b = compression.directions(layer.weight @ layer.gram @ layer.weight.mT, RANK)
    a = b.mT @ layer.weight
    if mixed:  # the same product
        turn = np.tril(np.ones((RANK, RANK)))
        b, a = b @ turn, np.linalg.solve(turn, a)
    ranks = range(1, RANK + 1)
    losses = [_loss(layer, b[:, :, :r] @ a[:, :r]) for r in ranks]
    return Evidence(np.stack(losses, 1), np.stack([_tail(layer, r) for r in ranks], 1))


def _shrinkage(layer: Layer, paid: bool = False) -> Evidence:
    """The loss on X that S + l I costs, and what ||W0 - W||^2 gains for it."""
    share = 0.1
    first = compression.project(layer.weight, layer.gram, RANK)
    other = compression.project(layer.weight, _shrunk(layer, share), RANK)
    size = share * np.trace(layer.gram, axis1=1, axis2=2) / COLUMNS
    gain = size * (squared_norm(layer.weight - first) - squared_norm(layer.weight - other))
    extra = _loss(layer, other) - _loss(layer, first)
    return Evidence(*((gain, extra) if paid else (extra, gain)))


def _calibration(layer: Layer, power: float = 1.0) -> Evidence:
    """Half of the tokens as calibration for all of them."""
    part = layer.inputs[:, :, ::2]
    sample = part @ part.mT
    half = compression.root(layer.gram, -0.5)
    ratio = np.linalg.eigvalsh(half @ sample @ half)
    model = compression.project(layer.weight, sample, RANK)
    return Evidence(_loss(layer, model), (ratio[:, -1] / ratio[:, 0]) ** power * _tail(layer))


PROVED = "proved in compression.project"

CLAIMS = (
    Claim(
        name="compression.inverse_free",
        source=PROVED,
        statement="Projecting the outputs on the leading eigenvectors of W0 S W0^T is the best "
        "compression.",
        formula="||(W0 - U_r U_r^T W0) X||^2 <= sum_{i>r} s_i(W0 X)^2",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_inverse_free,
        control=Control("T = I, plain SVD", functools.partial(_inverse_free, plain=True)),
    ),
    Claim(
        name="compression.singular",
        source=PROVED,
        statement="It needs no regular S: fewer tokens than inputs are no obstacle.",
        formula="||(W0 - U_r U_r^T W0) X||^2 <= sum_{i>r} s_i(W0 X)^2, n < d",
        kind="upper",
        status="new",
        instances=draw_few,
        measure=_singular,
        control=Control("whitening by S + .01 tr(S)/d I", functools.partial(_singular, added=0.01)),
    ),
    Claim(
        name="compression.every_metric",
        source="proved in compression.project; SVD-LLM, QERA and CorDA as published",
        statement="A whitened SVD mapped back is the projection, for any regular metric.",
        formula="[W0 T^{1/2}]_r T^{-1/2} = U_r U_r^T W0",
        kind="identity",
        status="new",
        instances=draw_layers,
        measure=_projection,
        control=Control(
            "a projection on the input side", functools.partial(_projection, inputs=True)
        ),
    ),
    Claim(
        name="compression.wrong_metric",
        source="loss_S(W_T) <= loss_T(W_T)/a <= loss_T(W_S)/a <= (b/a) loss_S(W_S)",
        statement="A metric T with a S <= T <= b S costs at most the factor b/a.",
        formula="||(W0 - W_T) X||^2 <= cond(S^{-1/2} T S^{-1/2}) tail",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_price,
        control=Control(
            "the root of the factor, on the extremal pair", _price_extremal, draw_extremal
        ),
    ),
    Claim(
        name="compression.square_metric",
        source="Yang et al. (2024), CorDA, whose formula is T = S^2",
        statement="CorDA's formula has no smaller output error than the optimum.",
        formula="||(W0 - W_{S^2}) X||^2 >= tail",
        kind="lower",
        status="new",
        instances=draw_layers,
        measure=_square,
        control=Control("it attains the optimum", functools.partial(_square, attained=True)),
    ),
    Claim(
        name="compression.prefixes",
        source=PROVED,
        statement="Every prefix of (U, U^T W0) is the best map of its rank.",
        formula="||(W0 - U_q U_q^T W0) X||^2 <= sum_{i>q} s_i(W0 X)^2, q <= r",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_prefixes,
        control=Control(
            "prefixes of other factors of the same product",
            functools.partial(_prefixes, mixed=True),
        ),
    ),
    Claim(
        name="compression.shrinkage",
        source="W_l is the best for loss + l ||W0 - W||^2, W_0 for the loss",
        statement="Shrinkage costs at most what it gains in plain distance.",
        formula="loss(W_l) - loss(W_0) <= l (||W0 - W_0||^2 - ||W0 - W_l||^2)",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_shrinkage,
        control=Control("it costs all of it", functools.partial(_shrinkage, paid=True)),
    ),
    Claim(
        name="compression.calibration",
        source="compression.wrong_metric with the moments of a sample as T",
        statement="A sample of tokens costs at most the relative condition of its moments.",
        formula="loss(W_sample) <= cond(S^{-1/2} S_sample S^{-1/2}) tail",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_calibration,
        control=Control("it costs nothing", functools.partial(_calibration, power=0.0)),
    ),
)
