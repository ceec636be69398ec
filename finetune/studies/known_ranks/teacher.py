"""A transformer, and its teacher: the same with low-rank changes whose ranks are known.

    y = f(x; W + D) + noise,   D_p = sum_{i <= r_p} sigma_p u_i v_i^T  in every linear map p

The base is a pretrained one, or random and yet like one that is trained: kernels have entries of
variance 1 / in, so that attention attends. u_i and v_i are orthonormal and uniform; sigma_p is
`strength` times the largest singular value of W_p, or of a random base the one that kernels of that
shape have on average, sqrt(in) + sqrt(out) over sqrt(in). Nothing is pooled: y has `width` numbers
for every token, a random linear map of its last state, which student and teacher share and no
method trains.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from finetune.models.bert import BertConfig
from finetune.models.initialise import initialise
from finetune.models.loading import load
from finetune.models.parts.ops import PLAIN
from finetune.training import network
from rankwise import checks

PATTERN = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4)


@dataclasses.dataclass(frozen=True)
class TeacherSetting:
    """The made problem.

    Attributes:
      width, layers, heads, inner: of the transformer.
      words, length: of a text, whose words are drawn independently.
      ranks: of the changes; they are dealt out to the modules at random, as often as it takes.
      strength: see above.
      noise: standard deviation of what is added to y, in units of that of the change of y.
      batch_size: texts of a step, all of them new.
      held_out: texts of the held-out loss, which are without noise.
      model: folder of a pretrained encoder, the base of every problem; None draws one. `width` is
        that of y then, `words` at most the model's, and layers, heads and inner are not read.
    """

    width: int = 32
    layers: int = 2
    heads: int = 4
    inner: int = 64
    words: int = 64
    length: int = 8
    ranks: tuple[int, ...] = PATTERN
    strength: float = 0.5
    noise: float = 0.5
    batch_size: int = 16
    held_out: int = 256
    model: str | None = None

    def __post_init__(self):
        for name in ("width", "layers", "heads", "inner", "words", "length", "batch_size"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("held_out", self.held_out, 1)
        checks.positive("strength", self.strength)
        checks.positive("noise", self.noise, zero=True)
        for rank in self.ranks:
            checks.integer("ranks", rank, 0, self.width)

    @property
    def config(self) -> BertConfig:
        """Of the network."""
        return BertConfig(
            vocab_size=self.words,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.inner,
            hidden_act="gelu",
            max_position_embeddings=self.length,
            type_vocab_size=1,
            num_labels=self.width,
            pooling="none",
            initializer_range=1.0,
        )


class Teacher(NamedTuple):
    """One problem.

    Attributes:
      params: of the base, by name.
      changed: of the teacher, likewise.
      ranks: (modules,) int32, in the order of the modules' paths.
      size: mean square of the change of y, the unit of losses.
    """

    params: Any
    changed: Any
    ranks: jax.Array
    size: jax.Array


def base(setting: TeacherSetting) -> network.Network:
    """The network; unless it is a pretrained one, its parameters are those of no problem yet.

    Raises:
      ValueError: a model that cannot be read, is no encoder, or knows fewer words.
    """
    if setting.model is None:
        return network.from_module(initialise(setting.config, jax.random.key(0)))
    key = jax.random.key(0)
    config, module = load(setting.model, labels=setting.width, key=key, pooling="none")
    checks.integer("words", setting.words, 1, config.vocab_size)
    return network.from_module(module)


def texts(setting: TeacherSetting, key: jax.Array, count: int) -> jax.Array:
    """Random words (count, length)."""
    return jax.random.randint(key, (count, setting.length), 0, setting.words)


def answer(net: network.Network, params: Any, ids: jax.Array, ops=PLAIN) -> jax.Array:
    """y (b, length, width)."""
    inputs = {"input_ids": ids, "attention_mask": jnp.ones_like(ids)}
    return net.forward(params, inputs, ops, None)


def draw(setting: TeacherSetting, net: network.Network, key: jax.Array) -> Teacher:
    """A base, its change and the ranks, all from the key; a pretrained base is the same for all."""
    of_base, of_ranks, of_change, of_text = jax.random.split(key, 4)
    params = net.params if setting.model else _random(of_base, net.params)
    paths = net.adapted()
    pattern = jnp.resize(jnp.asarray(setting.ranks, jnp.int32), len(paths))
    ranks = jax.random.permutation(of_ranks, pattern)
    changed = dict(params)
    for number, path in enumerate(paths):
        name = f"{path}.weight"
        own, kernel = jax.random.fold_in(of_change, number), params[name]
        if setting.model:
            largest = jnp.linalg.norm(kernel, 2)
        else:
            largest = 1 + (kernel.shape[1] / kernel.shape[0]) ** 0.5
        size = setting.strength * largest
        changed[name] = kernel + _change(own, max(setting.ranks), kernel.shape, ranks[number], size)
    ids = texts(setting, of_text, setting.held_out)
    both = [jax.jit(answer, static_argnums=0)(net, own, ids) for own in (changed, params)]
    return Teacher(params, changed, ranks, jnp.mean(jnp.square(both[0] - both[1])))


def _random(key: jax.Array, params: dict[str, jax.Array]) -> dict[str, jax.Array]:
    drawn = {}
    for number, name in enumerate(sorted(params)):
        leaf = params[name]
        if leaf.ndim < 2:
            drawn[name] = leaf
            continue
        spread = 1.0 if "embeddings" in name else leaf.shape[0] ** -0.5
        own = jax.random.fold_in(key, number)
        drawn[name] = spread * jax.random.normal(own, leaf.shape, leaf.dtype)
    return drawn


def _change(key, most: int, shape: tuple[int, int], rank: jax.Array, size: jax.Array):
    parts = []
    for own, entries in zip(jax.random.split(key), shape, strict=True):
        parts.append(jnp.linalg.qr(jax.random.normal(own, (entries, most)))[0])
    gains = jnp.where(jnp.arange(most) < rank, size, 0)
    return (parts[0] * gains) @ parts[1].T
