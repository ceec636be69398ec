"""Claims: other targets than the map's own outputs, biases, left metrics, chains, and storage.

Legend: as in `compression`; X_0 the inputs of the network as it was, X those it has now.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import generator, norm, squared_norm, with_values
from linear_theory.structure.compression import theory as compression
from linear_theory.structure.compression.instances import (
    COLUMNS,
    RANK,
    ROWS,
    Layer,
    draw_layers,
)

EPS = np.finfo(np.float64).eps
SHRINK = 0.5


class Drift(NamedTuple):
    """W0 (n, 7, 6), X_0 and X (n, 6, 20)."""

    weight: np.ndarray
    before: np.ndarray
    now: np.ndarray


def draw_drifts(key, trials: int) -> Drift:
    """Inputs that compression of the maps before has moved.

    Example:
      >>> import jax
      >>> draw_drifts(jax.random.key(0), 2).now.shape
      (2, 6, 20)
    """
    layer = draw_layers(key, trials)
    noise = generator(key).standard_normal(layer.inputs.shape)
    return Drift(layer.weight, layer.inputs, layer.inputs + 0.1 * noise)


def _anchored(drift: Drift, sequential: bool = False) -> Evidence:
    targets = drift.weight @ drift.before
    gram = drift.now @ drift.now.mT
    if sequential:
        model = compression.project(drift.weight, gram, RANK)
    else:
        model = compression.regression(gram, targets @ drift.now.mT, RANK)
    least = compression.regression_least(drift.now, targets, RANK)
    return Evidence(squared_norm(targets - model @ drift.now), least)


def _anchored_shrunk(drift: Drift, towards_zero: bool = False) -> Evidence:
    """Rows sqrt(l) I with the targets sqrt(l) W0 make the penalty a part of the data."""
    trials = len(drift.weight)
    targets = drift.weight @ drift.before
    gram = drift.now @ drift.now.mT + SHRINK * np.eye(COLUMNS)
    cross = targets @ drift.now.mT + (0 if towards_zero else SHRINK) * drift.weight
    model = compression.regression(gram, cross, RANK)
    more = np.tile(SHRINK**0.5 * np.eye(COLUMNS), (trials, 1, 1))
    inputs = np.concatenate([drift.now, more], axis=2)
    outputs = np.concatenate([targets, SHRINK**0.5 * drift.weight], axis=2)
    least = compression.regression_least(inputs, outputs, RANK)
    return Evidence(squared_norm(outputs - model @ inputs), least)


def _residual(layer: Layer, plain: bool = False) -> Evidence:
    """W0 - Q of rounding to seven levels per row."""
    scale = abs(layer.weight).max(axis=2, keepdims=True) / 3
    rest = layer.weight - compression.rounded(layer.weight, scale)
    metric = np.eye(COLUMNS) if plain else layer.gram
    adapter = compression.project(rest, metric, RANK)
    loss = squared_norm((rest - adapter) @ layer.inputs)
    return Evidence(loss, compression.tail(rest @ layer.inputs, RANK))


def _alternation(layer: Layer, renewed: bool = False) -> Evidence:
    """||W0 - Q - A||^2 after 1 to 8 rounds of rounding W0 - A and cutting W0 - Q."""
    scale = abs(layer.weight).max(axis=2, keepdims=True) / 3
    change, errors = np.zeros_like(layer.weight), []
    for _ in range(9):
        rest = layer.weight - change
        if renewed:
            scale = abs(rest).max(axis=2, keepdims=True) / 3
        quantised = compression.rounded(rest, scale)
        change = compression.best(layer.weight - quantised, 1)
        errors.append(squared_norm(layer.weight - quantised - change))
    return Evidence(np.stack(errors[1:], 1), np.stack(errors[:-1], 1))


def _chain(layer: Layer, alone: bool = False) -> Evidence:
    """W_2 = W_0^T after W_1 = W_0, each compressed on the inputs it had before."""
    first, second, x = layer.weight, layer.weight.mT, layer.inputs
    middle = first @ x
    one = compression.project(first, x @ x.mT, RANK)
    two = compression.project(second, middle @ middle.mT, RANK)
    total = norm(second @ middle - two @ one @ x)
    e_1, e_2 = norm(middle - one @ x), norm((second - two) @ middle)
    return Evidence(total, e_2 + (0 if alone else norm(two, 2) * e_1))


def _left(layer: Layer, ignored: bool = False) -> Evidence:
    """L = W0 W0^T + I."""
    left = layer.weight @ layer.weight.mT + np.eye(ROWS)
    if ignored:
        model = compression.project(layer.weight, layer.gram, RANK)
    else:
        model = compression.oblique(layer.weight, left, layer.gram, RANK)
    half = compression.root(left)
    loss = squared_norm(half @ (layer.weight - model) @ layer.inputs)
    return Evidence(loss, compression.tail(half @ layer.weight @ layer.inputs, RANK))


def _bias(layer: Layer, old: bool = False) -> Evidence:
    """Inputs of mean 1; the least of all maps and biases is the tail of the centred outputs."""
    inputs = layer.inputs + 1
    mean = inputs.mean(axis=2, keepdims=True)
    centred = inputs - mean
    used = inputs if old else centred
    model = compression.project(layer.weight, used @ used.mT, RANK)
    rest = layer.weight - model
    bias = 0 if old else rest @ mean
    loss = squared_norm(rest @ inputs - bias)
    return Evidence(loss, compression.tail(layer.weight @ centred, RANK))


def draw_dependent(key, trials: int) -> np.ndarray:
    """Maps (n, 7, 6) of rank 3 whose first two columns are parallel.

    Example:
      >>> import jax
      >>> draw_dependent(jax.random.key(0), 2).shape
      (2, 7, 6)
    """
    rng = generator(key)
    maps = with_values(rng, rng.uniform(0.3, 1, (trials, RANK)), ROWS, COLUMNS)
    maps[:, :, 1] = rng.uniform(0.5, 2, (trials, 1)) * maps[:, :, 0]
    return maps


def _pivot(maps: np.ndarray, pivoting: bool = True) -> Evidence:
    """Rounding, times the condition of the columns that are chosen."""
    rebuilt = np.stack([compression.pivot(one, RANK, pivoting) for one in maps])
    return Evidence(norm(maps - rebuilt), np.full(len(maps), 50 * EPS))


PROVED = "proved in compression.project"

CLAIMS = (
    Claim(
        name="compression.anchored",
        source="Izenman (1975); Yuan et al. (2025), AA-SVD",
        statement="The old outputs from the new inputs are a regression of moments.",
        formula="||W0 X_0 - W X||^2 <= ||Y||^2 - sum_{i<=r} s_i(Y Q)^2, W = U_r U_r^T Z S^-1",
        kind="upper",
        status="new",
        instances=draw_drifts,
        measure=_anchored,
        control=Control(
            "the best map on the new inputs, with its own outputs",
            functools.partial(_anchored, sequential=True),
        ),
    ),
    Claim(
        name="compression.anchored_shrinkage",
        source="rows sqrt(l) I with the targets sqrt(l) W0 added to the data",
        statement="Shrinkage towards W0 adds l I to S and l W0 to Z.",
        formula="min ||W0 X_0 - W X||^2 + l ||W0 - W||^2 at S + l I, Z + l W0",
        kind="upper",
        status="new",
        instances=draw_drifts,
        measure=_anchored_shrunk,
        control=Control(
            "l I added to S alone, which shrinks towards 0",
            functools.partial(_anchored_shrunk, towards_zero=True),
        ),
    ),
    Claim(
        name="compression.quantised_residual",
        source=f"{PROVED}, of W0 - Q",
        statement="The best adapter of a quantised map is the projection of what rounding left.",
        formula="||(W0 - Q - A) X||^2 <= sum_{i>r} s_i((W0 - Q) X)^2",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_residual,
        control=Control(
            "plain SVD of W0 - Q, LoftQ's first round", functools.partial(_residual, plain=True)
        ),
    ),
    Claim(
        name="compression.fixed_grid",
        source="each half of a round minimises over its part",
        statement="Rounding and cutting in turn never raises the error on a fixed grid.",
        formula="||W0 - Q_{t+1} - A_{t+1}||^2 <= ||W0 - Q_t - A_t||^2",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_alternation,
        control=Control(
            "scales that are recomputed each round, as LoftQ's",
            functools.partial(_alternation, renewed=True),
        ),
    ),
    Claim(
        name="compression.chain",
        source="the triangle inequality around W_2' W_1 X",
        statement="Errors of maps in a row add up, the first through the second.",
        formula="||W_2 W_1 X - W_2' W_1' X|| <= e_2 + ||W_2'||_2 e_1",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_chain,
        control=Control("e_2 alone", functools.partial(_chain, alone=True)),
    ),
    Claim(
        name="compression.left_metric",
        source="compression.project of L^{1/2} W0",
        statement="Where outputs count unequally the answer is an oblique projection.",
        formula="min ||L^{1/2} (W0 - W) X||^2 at L^{-1/2} U_r U_r^T L^{1/2} W0",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_left,
        control=Control("without L", functools.partial(_left, ignored=True)),
    ),
    Claim(
        name="compression.free_bias",
        source="the best bias takes the mean of the error away",
        statement="With a free bias the moments are centred.",
        formula="min ||W0 X - W X - c||^2 at S - n mu mu^T, c = (W0 - W) mu",
        kind="upper",
        status="new",
        instances=draw_layers,
        measure=_bias,
        control=Control("S as it is and the old bias", functools.partial(_bias, old=True)),
    ),
    Claim(
        name="compression.pivot",
        source="compare Zhao et al. (2025), PIFA",
        statement="A map of rank r is r of its columns and r (d - r) coefficients.",
        formula="W = W_J [I, C] P, r (m + d - r) numbers",
        kind="identity",
        status="new",
        instances=draw_dependent,
        measure=_pivot,
        control=Control("the first r columns", functools.partial(_pivot, pivoting=False)),
    ),
)
