"""Claims: training on masked inputs lowers the effective rank of features.

Legend: as in `masking`. Networks are small: multilayer perceptrons that restore patches of a
continuous signal (a masked autoencoder) or tokens of a Markov chain (a masked language model).

The survey quotes two other comparisons, in large networks: features at convergence with those at
a random start, and those of masked with those of unmasked inputs in one network, with a difference
that grows with depth. The second is not so in every layer of the small language model.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.spectrum import effective_rank, stable_rank
from linear_theory.claim import Claim, Control, Evidence
from linear_theory.instances.batching import per_instance
from linear_theory.instances.random_matrices import generator, norm, with_values
from linear_theory.structure.dropout.instances import masks
from linear_theory.structure.masking import theory as masking

DIM, SAMPLES = 6, 8
NETWORKS, WIDTH, ROWS, STEPS, STEP_SIZE = 20, 20, 64, 300, 5e-3
PATCHES, PATCH = 8, 2
TOKENS, VOCABULARY = 6, 8
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


class Corpus(NamedTuple):
    """Data of n networks, and two starts for each.

    Attributes:
      data: (n, rows, d_0), in float32, as the networks are.
      layers, others: L arrays (n, d_l, d_{l-1}).
      key: for the masks.
    """

    data: jax.Array
    layers: masking.Layers
    others: masking.Layers
    key: jax.Array


def _starts(rng, count: int, sizes: tuple[int, ...]) -> masking.Layers:
    return tuple(
        (rng.standard_normal((count, after, before)) / np.sqrt(before)).astype(np.float32)
        for before, after in itertools.pairwise(sizes)
    )


def draw_signals(key, trials: int) -> Corpus:
    """At most `NETWORKS` data sets: four latent factors of falling size, and noise.

    Example:
      >>> draw_signals(jax.random.key(0), 2).data.shape
      (2, 64, 16)
    """
    rng, count, size = generator(key), min(trials, NETWORKS), PATCHES * PATCH
    mixing = rng.standard_normal((count, 4, size)) * 0.6 ** np.arange(4)[:, None]
    data = rng.standard_normal((count, ROWS, 4)) @ mixing
    data = data + 0.3 * rng.standard_normal(data.shape)
    data = (data / np.sqrt(np.mean(data**2, axis=(1, 2), keepdims=True))).astype(np.float32)
    sizes = (size, WIDTH, WIDTH, WIDTH, size)
    return Corpus(data, _starts(rng, count, sizes), _starts(rng, count, sizes), key)


def draw_chains(key, trials: int) -> Corpus:
    """At most `NETWORKS` data sets: one-hot tokens of a Markov chain of concentrated steps.

    Example:
      >>> draw_chains(jax.random.key(0), 2).data.shape
      (2, 64, 54)
    """
    rng, count = generator(key), min(trials, NETWORKS)
    steps = rng.dirichlet(np.full(VOCABULARY, 0.15), (count, VOCABULARY)).cumsum(axis=2)
    tokens = rng.integers(VOCABULARY, size=(count, ROWS, TOKENS))
    for place in range(1, TOKENS):
        chances = steps[np.arange(count)[:, None], tokens[:, :, place - 1]]
        drawn = np.sum(rng.uniform(size=(count, ROWS, 1)) > chances, axis=2)
        tokens[:, :, place] = np.minimum(drawn, VOCABULARY - 1)
    # The last symbol of the alphabet is the mask.
    data = np.eye(VOCABULARY + 1, dtype=np.float32)[tokens].reshape(count, ROWS, -1)
    sizes = (data.shape[2], WIDTH, WIDTH, WIDTH, TOKENS * VOCABULARY)
    return Corpus(data, _starts(rng, count, sizes), _starts(rng, count, sizes), key)


def _autoencoder_loss(layers, data, key):
    data, keep = data
    unmasked = jax.random.bernoulli(key, keep, (*data.shape[:2], PATCHES))
    masked_data = data * jnp.repeat(unmasked, PATCH, axis=2)
    error = masking.features(layers, masked_data)[-1] - data
    return jnp.sum(jnp.mean(error**2, axis=(1, 2)))


def _language_loss(layers, data, key):
    data, keep = data
    tokens = data.reshape(*data.shape[:2], TOKENS, VOCABULARY + 1)
    masked_data = _masked_tokens(data, keep, key).reshape(data.shape)
    logits = masking.features(layers, masked_data)[-1].reshape(*tokens.shape[:3], VOCABULARY)
    return -jnp.sum(jnp.mean(tokens[..., :-1] * jax.nn.log_softmax(logits), axis=(1, 2)))


def _masked_tokens(data, keep, key):
    """One-hot tokens (n, rows, TOKENS, VOCABULARY + 1), each kept or replaced by the mask."""
    tokens = data.reshape(*data.shape[:2], TOKENS, VOCABULARY + 1)
    unmasked = jax.random.bernoulli(key, keep, (*tokens.shape[:3], 1))
    mask = jnp.zeros(VOCABULARY + 1, data.dtype).at[-1].set(1)
    return jnp.where(unmasked, tokens, mask)


# Loss and share of inputs that masks keep. The share is data, so that one program serves all.
TASKS = {"autoencoder": (_autoencoder_loss, 0.5), "language_model": (_language_loss, 0.6)}


def _layer_ranks(corpus: Corpus, layers: masking.Layers, loss, keep: float) -> np.ndarray:
    """Effective ranks of the centred features of all layers on unmasked inputs, (n, L)."""
    return _ranks(_end(corpus, layers, loss, keep), corpus.data)


def _end(corpus: Corpus, layers: masking.Layers, loss, keep: float) -> masking.Layers:
    data = corpus.data, np.float32(keep)
    return masking.train_masked(loss, layers, data, corpus.key, STEP_SIZE, steps=STEPS)


def _ranks(layers: masking.Layers, inputs) -> np.ndarray:
    ranks = []
    for output in masking.features(layers, inputs):
        centred = np.asarray(output, np.float64)
        centred = centred - centred.mean(axis=1, keepdims=True)
        ranks.append(effective_rank(np.linalg.svd(centred, compute_uv=False)))
    return np.stack(ranks, axis=1)


def _trained(corpus: Corpus, name: str, masked: bool = True) -> Evidence:
    loss, keep = TASKS[name]
    bound = _layer_ranks(corpus, corpus.layers, loss, 1.0)
    if masked:
        return Evidence(_layer_ranks(corpus, corpus.layers, loss, keep), bound)
    return Evidence(_layer_ranks(corpus, corpus.others, loss, 1.0), bound)


def _masked_inputs(corpus: Corpus, layer: int = 0) -> Evidence:
    """Masked against unmasked inputs of one network, trained on masked ones."""
    loss, keep = TASKS["language_model"]
    data, end = corpus.data, _end(corpus, corpus.layers, loss, keep)
    masked_data = _masked_tokens(data, keep, jax.random.fold_in(corpus.key, 1)).reshape(data.shape)
    return Evidence(_ranks(end, masked_data)[:, layer], _ranks(end, data)[:, layer])


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
)
