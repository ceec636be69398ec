"""Claims: deep linear classifiers end at the maximum margin, with layers of rank one.

Legend: as in `margin`.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import (
    generator,
    orthogonal,
    per_group,
    shares,
    squared_norm,
)
from linear_theory.structure.deep_linear.theory import Layers, product
from linear_theory.structure.margin import theory as mg

FEATURES, SUPPORT, OTHERS, WIDTH = 3, 4, 4, 4
STEPS = 4000
# What is left at a finite norm must be small for a comparison to say something.
NEAR = 0.15


class Separable(NamedTuple):
    """Separable problems for classifiers of one depth.

    Attributes:
      layers: the start, L arrays (n, d_l, d_{l-1}).
      signed: z_i = y_i x_i (n, 8, 3); the first four lie on the margin.
      direction: the unit vector of the largest margin (n, 3).
      margin: gamma (n,).
      step: eta (n,).
    """

    layers: Layers
    signed: np.ndarray
    direction: np.ndarray
    margin: np.ndarray
    step: np.ndarray


def draw_separable(key, trials: int, size: float = 0.3) -> list[Separable]:
    """Problems of known maximum margin, dealt to depths 2 and 3, Gaussian layers of that size.

    Points gamma w + p_i with sum a_i p_i = 0, a_i > 0, p_i orthogonal to w: w is a positive
    combination of them, which is what optimality asks for. The others have larger margins.

    Example:
      >>> import jax
      >>> [len(group.layers) for group in draw_separable(jax.random.key(0), 2)]
      [2, 3]
    """
    rng = generator(key)
    groups = []
    for depth, count in zip((2, 3), shares(trials, 2), strict=True):
        if not count:
            continue
        frame = orthogonal(rng, count, FEATURES, FEATURES)
        weights = rng.uniform(0.3, 1, (count, SUPPORT, 1))
        inside = rng.standard_normal((count, SUPPORT, FEATURES - 1))
        last = -np.sum(weights[:, :-1] * inside[:, :-1], axis=1) / weights[:, -1]
        inside[:, -1] = last
        outside = rng.standard_normal((count, OTHERS, FEATURES - 1))
        gamma = rng.uniform(0.3, 1, (count, 1, 1))
        more = np.concatenate(
            [np.zeros((count, SUPPORT, 1)), rng.uniform(0.2, 1, (count, OTHERS, 1))], axis=1
        )
        points = np.concatenate([inside, outside], axis=1)
        signed = np.concatenate([gamma + more, points], axis=2) @ frame.mT
        sizes = [FEATURES] + [WIDTH] * (depth - 1) + [1]
        layers = tuple(
            size * rng.standard_normal((count, after, before))
            for before, after in itertools.pairwise(sizes)
        )
        # The curvature in w is at most the largest |z|^2, and w moves by the step times about
        # (||Theta||^2/L)^{L-1}.
        step = 0.4 * depth ** (depth - 1) / np.max(np.sum(signed**2, axis=2), axis=1)
        groups.append(Separable(layers, signed, frame[:, :, 0], gamma[:, 0, 0], step))
    return groups


class End(NamedTuple):
    """A trained classifier.

    Attributes:
      layers: (n, d_l, d_{l-1}) each. drift: as in `margin.Trained`.
      norm: ||w||. cosine: with the maximum margin. margin: min y_i w^T x_i.
      energy: ||Theta||^2.
      room: what a finite norm leaves, log n / (gamma ||w||). One layer from 0 has
        min y_i w^T x_i >= gamma ||w|| - log n, and the cosine is at least margin/(gamma ||w||).
      fits: the loss is below 1, and the room is small.
    """

    layers: Layers
    drift: np.ndarray
    norm: np.ndarray
    cosine: np.ndarray
    margin: np.ndarray
    energy: np.ndarray
    room: np.ndarray
    fits: np.ndarray


def _train(group: Separable) -> End:
    layers, drift = mg.separate(*group[:2], group.step, steps=STEPS)
    layers = tuple(np.asarray(layer) for layer in layers)
    vector = product(layers)[:, 0]
    norm = np.linalg.norm(vector, axis=1)
    cosine = np.sum(vector * group.direction, axis=1) / norm
    margin = np.asarray(mg.least_margin(layers, group.signed))
    energy = sum(squared_norm(layer) for layer in layers)
    room = np.log(SUPPORT + OTHERS) / (group.margin * norm)
    loss = np.sum(np.exp(-np.einsum("nid,nd->ni", group.signed, vector)), axis=1)
    fits = (loss < 1) & (room < NEAR)
    return End(layers, np.asarray(drift), norm, cosine, margin, energy, room, fits)


def _direction(group: Separable, means: bool = False) -> Evidence:
    end = _train(group)
    target = group.signed.mean(axis=1) if means else group.direction
    vector = product(end.layers)[:, 0] / end.norm[:, None]
    cosine = np.sum(vector * target, axis=1) / np.linalg.norm(target, axis=1)
    # What w has across the direction stays bounded while it grows: along no p_i of the support by
    # more than about log n, an angle of log n/(s ||w||) for the least singular value s of all p_i.
    support = group.signed[:, :SUPPORT]
    across = support - group.margin[:, None, None] * group.direction[:, None]
    spread = np.linalg.svd(across, compute_uv=False)[:, FEATURES - 2]
    angle = end.room * group.margin / spread
    return Evidence(cosine, 1.0, end.fits, np.minimum(end.room, (2 * angle) ** 2))


def _largest_margin(group: Separable, start: bool = False) -> Evidence:
    end = _train(group)
    margin = end.margin / (group.margin * end.norm)
    if start:  # the direction of the start, as in lazy training
        vector = product(group.layers)[:, 0]
        least = np.asarray(mg.least_margin(group.layers, group.signed))
        margin = least / (group.margin * np.linalg.norm(vector, axis=1))
    return Evidence(margin, 1.0, end.fits, end.room)


def _norm(group: Separable, shift: int = 0) -> Evidence:
    end, depth = _train(group), len(group.layers)
    normalised = end.margin / end.energy ** (depth / 2)
    predicted = np.asarray(mg.margin_limit(group.margin, depth + shift))
    room = _room(group, end)
    limit = np.asarray(mg.margin_limit(group.margin, depth))
    return Evidence(normalised, predicted, end.fits & (room < 2 * NEAR), room * limit)


def _room(group: Separable, end: End) -> np.ndarray:
    """What a finite norm leaves, and layers that are not yet balanced and of rank one.

    They differ from that by their imbalance, of which each has ||Theta||^2/L.
    """
    imbalance = mg.imbalance_bound(group.layers, end.drift).max(axis=1)
    depth = len(group.layers)
    return end.room + depth * imbalance / (end.energy / depth)


def _bound(group: Separable, power: float = 0.0) -> Evidence:
    end, depth = _train(group), len(group.layers)
    limit = np.asarray(mg.margin_limit(group.margin, depth)) * depth**-power
    return Evidence(end.margin / end.energy ** (depth / 2), limit)


def _rank_one(group: Separable, start: bool = True) -> Evidence:
    """The worst layer: energy outside its first singular value, over its bound."""
    end = _train(group)
    layers = group.layers if start else tuple(0 * layer for layer in group.layers)
    bound = mg.imbalance_bound(layers, end.drift)
    values = [np.linalg.svd(layer, compute_uv=False) for layer in end.layers[:-1]]
    outside = np.stack([np.sum(value[:, 1:] ** 2, axis=1) for value in values], axis=1)
    worst = np.argmax(outside / bound, axis=1)[:, None]
    pick = functools.partial(np.take_along_axis, indices=worst, axis=1)
    return Evidence(pick(outside)[:, 0], pick(bound)[:, 0])


def _stationary(group: Separable, start: bool = False) -> Evidence:
    """cos(Theta, -grad): they point the same way at a stationary point."""
    end = _train(group)
    layers = group.layers if start else end.layers
    margins = np.einsum("nid,nd->ni", group.signed, product(layers)[:, 0])
    weights = np.exp(margins.min(axis=1, keepdims=True) - margins)
    pull = np.einsum("ni,nid->nd", weights, group.signed)[:, None]
    inner = energy = 0.0
    for k, layer in enumerate(layers):
        after = product((np.eye(layer.shape[1])[None], *layers[k + 1 :]))
        before = product((np.eye(FEATURES)[None], *layers[:k]))
        slope = after.mT @ pull @ before.mT
        inner = inner + np.sum(slope * layer, axis=(1, 2))
        energy = energy + squared_norm(slope)
    size = sum(squared_norm(layer) for layer in layers)
    room = _room(group, end)
    return Evidence(inner / np.sqrt(energy * size), 1.0, end.fits & (room < 2 * NEAR), room)


draw_large = functools.partial(draw_separable, size=0.8)

SOURCE = "arXiv 2503.19859, theorem 3"


CLAIMS = (
    Claim(
        name="margin.direction",
        source=SOURCE,
        statement="Separable data, the loss below 1 at some time: the product turns to the "
        "direction of the largest margin.",
        formula="cos(w, w_svm) = 1 up to the square of log n / (s ||w||)",
        kind="fit",
        status="with a condition",
        instances=draw_separable,
        measure=per_group(_direction),
        control=Control(
            "the direction of the mean of y_i x_i",
            per_group(functools.partial(_direction, means=True)),
        ),
    ),
    Claim(
        name="margin.largest",
        source=SOURCE,
        statement="Its margin comes to the largest there is.",
        formula="min y_i w^T x_i / ||w|| = gamma up to log n / ||w||",
        kind="fit",
        status="with a condition",
        instances=draw_separable,
        measure=per_group(_largest_margin),
        control=Control(
            "the direction of the start", per_group(functools.partial(_largest_margin, start=True))
        ),
    ),
    Claim(
        name="margin.stationary",
        source=SOURCE,
        statement="The direction of all layers is a stationary point of the least norm at margin "
        "one: the layers are a combination of the gradients of the margins, with weights >= 0 that "
        "vanish off the smallest margin.",
        formula="cos(Theta, sum_i e^{-m_i} grad m_i) -> 1, m_i = y_i w^T x_i",
        kind="fit",
        status="with a condition",
        instances=draw_separable,
        measure=per_group(_stationary),
        control=Control("the start", per_group(functools.partial(_stationary, start=True))),
    ),
    Claim(
        name="margin.norm",
        source=f"{SOURCE} and (30)",
        statement="The margin over the norm of all layers, and so the least norm at margin one.",
        formula="min y_i w^T x_i / ||Theta||^L -> gamma L^{-L/2}, ||Theta||^2 = L gamma^{-2/L}",
        kind="fit",
        status="new",
        instances=draw_separable,
        measure=per_group(_norm),
        control=Control(
            "the constant of one more layer", per_group(functools.partial(_norm, shift=1))
        ),
    ),
    Claim(
        name="margin.bound",
        source="proved in margin.margin_limit",
        statement="No layers have a larger normalised margin.",
        formula="min y_i w^T x_i / ||Theta||^L <= gamma L^{-L/2}",
        kind="upper",
        status="new",
        instances=draw_separable,
        measure=per_group(_bound),
        control=Control("gamma L^{-(L+1)/2}", per_group(functools.partial(_bound, power=0.5))),
    ),
    Claim(
        name="margin.rank_one",
        source="arXiv 1810.02032, lemma 2.6; arXiv 2503.19859, theorem 3",
        statement="What a layer has outside its first singular value stays bounded while it grows.",
        formula="||W_k||^2 - ||W_k||_2^2 <= sum_{l>=k} (||D_l||_2 - tr D_l) + drift",
        kind="upper",
        status="with a condition",
        instances=draw_separable,
        measure=per_group(_rank_one),
        control=Control(
            "the imbalance of the start left out",
            per_group(functools.partial(_rank_one, start=False)),
            draw_large,
        ),
    ),
)
