"""Claims: sums and cuts of low-rank changes, in factors.

Legend: as in `compression`; C_i = B_i A_i changes, w_i weights, S_i moments of their tasks.
"""

from __future__ import annotations

import functools

import numpy as np

from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.random_matrices import norm, squared_norm
from linear_theory.structure.compression import theory as compression
from linear_theory.structure.compression.instances import Pair, draw_pairs

CUT = 3


def _merge(pair: Pair, averaged: bool = False) -> Evidence:
    if averaged:
        weights = np.moveaxis(pair.weights, 1, 0)[..., None, None]
        b = sum(w * one for w, one in zip(weights, pair.b, strict=True))
        model = b @ sum(w * one for w, one in zip(weights, pair.a, strict=True))
    else:
        scaled = [
            w[:, None, None] * b
            for w, b in zip(np.moveaxis(pair.weights, 1, 0), pair.b, strict=True)
        ]
        model = compression.stacked_core(scaled, pair.a, CUT)
    return Evidence(squared_norm(pair.total - model), compression.tail(pair.total, CUT))


def _cut_before(pair: Pair, alone: bool = False) -> Evidence:
    """Adapters cut to rank 1 each, merged, and cut to 1."""
    changes = [b @ a for b, a in zip(pair.b, pair.a, strict=True)]
    weights = np.moveaxis(pair.weights, 1, 0)
    parts = [
        w[:, None, None] * compression.best(c, 1) for w, c in zip(weights, changes, strict=True)
    ]
    model = compression.best(sum(parts), 1)
    lost = sum(
        abs(w) * compression.tail(c, 1) ** 0.5 for w, c in zip(weights, changes, strict=True)
    )
    bound = compression.tail(pair.total, 1) ** 0.5 + (0 if alone else 2 * lost)
    return Evidence(norm(pair.total - model), bound)


def _weighted(pair: Pair, plain: bool = False) -> Evidence:
    b, a, gram = pair.b[0], pair.a[0], pair.grams[0]
    half = compression.root(gram)
    model = compression.best(b @ a, 1) if plain else compression.weighted_cut(b, a, gram, 1)
    return Evidence(squared_norm((b @ a - model) @ half), compression.tail(b @ a @ half, 1))


def _moments(pair: Pair, plain: bool = False) -> Evidence:
    """sum_i ||(C_i - W) S_i^{1/2}||^2 of rank 2, which is that of joined inputs and outputs."""
    changes = [b @ a for b, a in zip(pair.b, pair.a, strict=True)]
    gram = sum(pair.grams)
    cross = sum(c @ s for c, s in zip(changes, pair.grams, strict=True))
    if plain:
        model = compression.best(np.linalg.solve(gram, cross.mT).mT, 2)
    else:
        model = compression.regression(gram, cross, 2)
    halves = [compression.root(s) for s in pair.grams]
    inputs = np.concatenate(halves, axis=2)
    outputs = np.concatenate([c @ h for c, h in zip(changes, halves, strict=True)], axis=2)
    loss = squared_norm(outputs - model @ inputs)
    return Evidence(loss, compression.regression_least(inputs, outputs, 2))


CLAIMS = (
    Claim(
        name="compression.merge",
        source="QR of the stacked factors, and Eckart and Young (1936) of their core",
        statement="The best merge of adapters of any rank comes from their stacked factors.",
        formula="||sum_i w_i C_i - W||^2 <= sum_{j>r} s_j(sum_i w_i C_i)^2",
        kind="upper",
        status="new",
        instances=draw_pairs,
        measure=_merge,
        control=Control("averages of A and of B", functools.partial(_merge, averaged=True)),
    ),
    Claim(
        name="compression.cut_before_merge",
        source="the triangle inequality, twice",
        statement="Cutting adapters before they are merged costs up to twice what each has lost.",
        formula="||sum_i w_i C_i - W|| <= tail_r(sum) + 2 sum_i |w_i| tail_r(C_i)",
        kind="upper",
        status="new",
        instances=draw_pairs,
        measure=_cut_before,
        control=Control("the tail alone", functools.partial(_cut_before, alone=True)),
    ),
    Claim(
        name="compression.weighted_cut",
        source="compression.project of R A, B = Q R",
        statement="The cut that is best on inputs takes one product A S and a core of rank k.",
        formula="||(B A - W) X||^2 <= sum_{i>r} s_i(B A X)^2, W = Q U_r U_r^T R A",
        kind="upper",
        status="new",
        instances=draw_pairs,
        measure=_weighted,
        control=Control("the plain cut", functools.partial(_weighted, plain=True)),
    ),
    Claim(
        name="compression.merge_on_inputs",
        source="compare Jin et al. (2023), RegMean, without the limit on the rank",
        statement="The best adapter of a rank for several tasks follows from their moments.",
        formula="min sum_i ||(C_i - W) X_i||^2 at S = sum_i S_i, Z = sum_i C_i S_i",
        kind="upper",
        status="new",
        instances=draw_pairs,
        measure=_moments,
        control=Control("RegMean's map, cut by plain SVD", functools.partial(_moments, plain=True)),
    ),
)
