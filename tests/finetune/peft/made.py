"""Random adapters and heads for tiny networks, and networks that use them without merging."""

import functools

import jax.numpy as jnp
import numpy as np

from finetune.adapters.method import Factors
from finetune.models.parts.ops import PLAIN, Ops, matmul
from finetune.peft import compatibility
from finetune.weights.naming import named_leaves, rebuild
from tests.finetune.models.tiny import CONFIGS, MLP_CONFIG, random_model

CONFIG = {**CONFIGS, "mlp": MLP_CONFIG}


@functools.cache
def model(kind):
    return random_model(CONFIG[kind])


@functools.cache
def frame(kind):
    return compatibility.frame(CONFIG[kind])


def factors(rng, shape, rank, dtype=np.float32):
    size_in, size_out = shape
    a, b = rng.normal(size=(size_in, rank)), rng.normal(size=(rank, size_out))
    return Factors((0.3 * a).astype(dtype), (0.3 * b).astype(dtype))


def body(kind):
    """Linear maps that are neither head nor pooler."""
    return [p for p in frame(kind).linear if "classifier" not in p and "pooler" not in p]


def adapters(kind, ranks=(0, 1, 2, 3, 5), dtype=np.float32, seed=0, paths=None):
    """Ranks in turn, 0 among them."""
    rng = np.random.default_rng(seed)
    paths = body(kind) if paths is None else paths
    shapes = frame(kind).shapes
    return {
        path: factors(rng, shapes[path], ranks[i % len(ranks)], dtype)
        for i, path in enumerate(paths)
    }


def heads(kind, extra=(), seed=1):
    """All parameters of the trained heads."""
    rng = np.random.default_rng(seed)
    result = frame(kind)
    names = sorted(n for path in (*result.heads, *extra) for n in result.within(path))
    shapes = {name: result.leaves[name].shape for name in names}
    return {n: (0.3 * rng.normal(size=shape)).astype(np.float32) for n, shape in shapes.items()}


def with_heads(network, replaced):
    """The model with other heads."""
    values = {name: leaf.value for name, leaf in named_leaves(network).items()}
    return rebuild(network, {**values, **replaced})


def ops(changes):
    """y = x W + (x a) b, and the same for tables."""

    def linear(path, x, kernel):
        y = PLAIN.linear(path, x, kernel)
        if path in changes:
            y = y + matmul(matmul(x, changes[path].a), changes[path].b)
        return y

    def embed(path, ids, table):
        y = PLAIN.embed(path, ids, table)
        if path in changes:
            y = y + matmul(jnp.asarray(changes[path].a)[ids], changes[path].b)
        return y

    return Ops(linear, embed)
