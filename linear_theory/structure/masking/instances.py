"""Small networks trained on masked inputs: the instances of the claims about their features.

Legend: as in `masking`. Multilayer perceptrons that restore patches of a continuous signal (a
masked autoencoder) or tokens of a Markov chain (a masked language model).
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem.spectrum import effective_rank
from linear_theory.instances.random_matrices import generator
from linear_theory.structure.masking import theory as masking

NETWORKS, WIDTH, ROWS, STEPS, STEP_SIZE = 20, 20, 64, 300, 5e-3
PATCHES, PATCH = 8, 2
TOKENS, VOCABULARY = 6, 8


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
    masked_data = masked_tokens(data, keep, key).reshape(data.shape)
    logits = masking.features(layers, masked_data)[-1].reshape(*tokens.shape[:3], VOCABULARY)
    return -jnp.sum(jnp.mean(tokens[..., :-1] * jax.nn.log_softmax(logits), axis=(1, 2)))


def masked_tokens(data, keep, key):
    """One-hot tokens (n, rows, TOKENS, VOCABULARY + 1), each kept or replaced by the mask."""
    tokens = data.reshape(*data.shape[:2], TOKENS, VOCABULARY + 1)
    unmasked = jax.random.bernoulli(key, keep, (*tokens.shape[:3], 1))
    mask = jnp.zeros(VOCABULARY + 1, data.dtype).at[-1].set(1)
    return jnp.where(unmasked, tokens, mask)


# Loss and share of inputs that masks keep. The share is data, so that one program serves all.
TASKS = {"autoencoder": (_autoencoder_loss, 0.5), "language_model": (_language_loss, 0.6)}


def train(corpus: Corpus, name: str, *, masked: bool = True, others: bool = False):
    """The layers after training, with masks or without, from one of the two starts.

    Example:
      >>> [layer.shape for layer in train(draw_signals(jax.random.key(0), 2), "autoencoder")][:2]
      [(2, 20, 16), (2, 20, 20)]
    """
    loss, keep = TASKS[name]
    data = corpus.data, np.float32(keep if masked else 1)
    start = corpus.others if others else corpus.layers
    return masking.train_masked(loss, start, data, corpus.key, STEP_SIZE, steps=STEPS)


def ranks(layers: masking.Layers, inputs) -> np.ndarray:
    """Effective ranks of the centred features of all layers, (n, L).

    Example:
      >>> drawn = draw_signals(jax.random.key(0), 2)
      >>> ranks(drawn.layers, drawn.data).shape
      (2, 4)
    """
    by_layer = []
    for output in masking.features(layers, inputs):
        centred = np.asarray(output, np.float64)
        centred = centred - centred.mean(axis=1, keepdims=True)
        by_layer.append(effective_rank(np.linalg.svd(centred, compute_uv=False)))
    return np.stack(by_layer, axis=1)
