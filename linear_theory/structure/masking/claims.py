"""Claims: training on masked inputs lowers the effective rank of features.

Legend: as in `masking`. Networks are those of `instances`.

The survey quotes two other comparisons, in large networks: features at convergence with those at
a random start, and those of masked with those of unmasked inputs in one network, with a difference
that grows with depth. The second is not so in every layer of the small language model.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import numpy as np

from deflation.problem.spectrum import effective_rank, stable_rank
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.random_matrices import generator, norm, with_values
from linear_theory.structure.dropout.instances import masks
from linear_theory.structure.masking import theory as masking
from linear_theory.structure.masking.instances import (
    TASKS,
    Corpus,
    draw_chains,
    draw_signals,
    masked_tokens,
    ranks,
    train,
)

DIM, SAMPLES = 6, 8
EPS = np.finfo(np.float64).eps

_reconstruction = per_instance(masking.masked_reconstruction)


class Inputs(NamedTuple):
    """X (n, 6, 8), and two keep rates (n, 2), the lower one first."""

    inputs: np.ndarray
    keep: np.ndarray


def draw_inputs(key, trials: int) -> Inputs:
    """Random spectra, rows scaled to equal variances.

    Example:
      >>> draw_inputs(jax.random.key(0), 2).keep.shape
      (2, 2)
    """
    rng = generator(key)
    inputs = with_values(rng, 10 ** rng.uniform(-1.5, 0, (trials, DIM)), DIM, SAMPLES)
    keep = np.sort(rng.uniform(0.1, 0.9, (trials, 2)), axis=1)
    return Inputs(inputs / np.linalg.norm(inputs, axis=2, keepdims=True), keep)


def draw_unequal(key, trials: int) -> Inputs:
    """Inputs with a common factor, and one of larger variance that is independent of them.

    Example:
      >>> draw_unequal(jax.random.key(0), 2).inputs.shape
      (2, 6, 8)
    """
    rng = generator(key)
    values = np.concatenate([np.ones((trials, 1)), rng.uniform(0.1, 0.3, (trials, 4))], axis=1)
    group = with_values(rng, values, DIM - 1, SAMPLES - 1)
    inputs = np.zeros((trials, DIM, SAMPLES))
    inputs[:, 1:, 1:] = group
    inputs[:, 0, 0] = rng.uniform(1.1, 1.5, trials)
    return Inputs(inputs, np.sort(rng.uniform(0.1, 0.9, (trials, 2)), axis=1))


def _normal_equations(problem: Inputs, rescaled: bool = True) -> Evidence:
    """W E[x' x'^T] = E[x x'^T] for masked inputs x', by enumeration of all masks."""
    gram = problem.inputs @ problem.inputs.mT
    keep = problem.keep[:, 0]
    unmasked, chance = masks(DIM, keep)
    second = np.einsum("mn,mi,mj->nij", chance, unmasked, unmasked) / keep[:, None, None] ** 2
    used = keep if rescaled else 1 / (2 - keep)  # for which (1-mu)/mu is 1-mu
    model = _reconstruction(gram, used)
    error = norm(model @ (second * gram) - gram)
    # The ridge has condition at most d S_jj / ((1-mu)/mu S_jj).
    return Evidence(error, 1e3 * EPS * DIM * keep / (1 - keep))


def _linear_rank(problem: Inputs) -> Evidence:
    """Effective and stable rank of W X at the lower keep rate, against the higher and none."""
    gram = problem.inputs @ problem.inputs.mT
    ranks = []
    for keep in (*problem.keep.T, np.ones(len(gram))):
        values = np.linalg.svd(_reconstruction(gram, keep) @ problem.inputs, compute_uv=False)
        ranks.append(np.stack([effective_rank(values), stable_rank(values)], axis=1))
    lower, higher, none = ranks
    return Evidence(np.concatenate([lower, higher], axis=1), np.concatenate([higher, none], axis=1))


def _trained(corpus: Corpus, name: str, masked: bool = True) -> Evidence:
    """On unmasked inputs, against the same network trained without masks."""
    layers = train(corpus, name, masked=masked, others=not masked)
    bound = ranks(train(corpus, name, masked=False), corpus.data)
    return Evidence(ranks(layers, corpus.data), bound)


def _from_start(corpus: Corpus, masked: bool = True) -> Evidence:
    """The sum over all layers of a masked autoencoder, at the end of training and at its start."""
    end = train(corpus, "autoencoder", masked=masked)
    measured, bound = (ranks(one, corpus.data).sum(axis=1) for one in (end, corpus.layers))
    return Evidence(measured, bound)


def _masked_inputs(corpus: Corpus, layer: int = 0) -> Evidence:
    """Masked against unmasked inputs of one network, trained on masked ones."""
    data, end = corpus.data, train(corpus, "language_model")
    keep = TASKS["language_model"][1]
    hidden = masked_tokens(data, keep, jax.random.fold_in(corpus.key, 1)).reshape(data.shape)
    return Evidence(ranks(end, hidden)[:, layer], ranks(end, data)[:, layer])


SOURCE = "arXiv 2503.19859, section on masked training"


def _network_claim(name: str, words: str, draw) -> Claim:
    return Claim(
        name=f"masking.{name}",
        source=f"observed here; {SOURCE}, quotes other comparisons",
        statement=f"A small {words} has features of lower effective rank in every layer than the "
        "same network trained without masks, both seen on unmasked inputs.",
        formula="erank(h_l, masked training) <= erank(h_l, unmasked training), all l",
        kind="upper",
        status="new",
        instances=draw,
        measure=functools.partial(_trained, name=name),
        control=Control(
            "no masks in either, another start",
            functools.partial(_trained, name=name, masked=False),
        ),
    )


CLAIMS = (
    Claim(
        name="masking.reconstruction",
        source="derived in masking.masked_reconstruction",
        statement="Linear reconstruction of masked inputs, by enumeration of all masks.",
        formula="argmin E ||X - W diag(z/mu) X||^2 = S (S + (1-mu)/mu diag S)^-1",
        kind="identity",
        status="new",
        instances=draw_inputs,
        measure=_normal_equations,
        control=Control("1 - mu", functools.partial(_normal_equations, rescaled=False)),
    ),
    Claim(
        name="masking.linear_rank",
        source="derived in masking.masked_reconstruction",
        statement="Equal variances: effective and stable rank of the features fall with the share "
        "of inputs that is kept.",
        formula="erank(W_mu X) <= erank(W_nu X) <= erank(X), mu <= nu <= 1; stable rank likewise",
        kind="upper",
        status="new",
        instances=draw_inputs,
        measure=_linear_rank,
        control=Control("unequal variances", _linear_rank, draw_unequal),
    ),
    _network_claim("autoencoder", "masked autoencoder", draw_signals),
    _network_claim("language_model", "masked language model", draw_chains),
    Claim(
        name="masking.masked_inputs",
        source=f"{SOURCE}; arXiv 2302.02060",
        statement="Masked inputs need not have features of lower effective rank than the same "
        "inputs without masks in every layer: in the first layer of a small masked language model "
        "theirs is higher.",
        formula="erank(h_1(masked inputs)) >= erank(h_1(inputs))",
        kind="lower",
        status="refuted",
        instances=draw_chains,
        measure=_masked_inputs,
        control=Control("the second layer", functools.partial(_masked_inputs, layer=1)),
    ),
    Claim(
        name="masking.from_start",
        source=f"{SOURCE}; Zhang et al. 2022, of large networks",
        statement="A small masked autoencoder ends with features of lower effective rank than it "
        "began with, in the sum of its layers; one trained without masks does not, and in a small "
        "masked language model those of the middle layers rise.",
        formula="sum_l erank(h_l, end) <= sum_l erank(h_l, start)",
        kind="upper",
        status="with a condition",
        instances=draw_signals,
        measure=_from_start,
        control=Control("trained without masks", functools.partial(_from_start, masked=False)),
    ),
)
