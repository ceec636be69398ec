"""Tiny models as a reader may have them, and their losses."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

FEATURES, WIDTH, CLASSES, ROWS = 6, 8, 3, 12
D, HEADS, SIZE, INNER, LAYERS, WORDS = 8, 2, 4, 12, 2, 10


class Net(nnx.Module):
    """Two layers of flax's and a product by hand."""

    def __init__(self, rngs):
        self.fc1 = nnx.Linear(FEATURES, WIDTH, rngs=rngs)
        self.fc2 = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.w = nnx.Param(jax.random.normal(rngs.params(), (WIDTH, CLASSES)) / WIDTH**0.5)

    def __call__(self, x):
        return jax.nn.relu(self.fc2(jax.nn.relu(self.fc1(x)))) @ self.w[...]


def net():
    return Net(nnx.Rngs(0))


def rows(count=ROWS, seed=1):
    x = jax.random.normal(jax.random.key(seed), (count, FEATURES))
    return {"x": x, "y": jnp.arange(count) % CLASSES}


def cross_entropy(logits, y):
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[..., None], -1)
    return -jnp.mean(picked)


def loss(model, batch):
    return cross_entropy(model(batch["x"]), batch["y"])


class Attention(nnx.Module):
    """Kernels of three and four axes."""

    def __init__(self, rngs):
        self.q = nnx.LinearGeneral(D, (HEADS, SIZE), rngs=rngs)
        self.kv = nnx.Einsum("btd,cdhk->cbthk", (2, D, HEADS, SIZE), None, rngs=rngs)
        self.o = nnx.LinearGeneral((HEADS, SIZE), D, axis=(-2, -1), rngs=rngs)

    def __call__(self, x):
        k, v = self.kv(x)
        return self.o(jax.nn.dot_product_attention(self.q(x), k, v))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.attn, self.norm = Attention(rngs), nnx.LayerNorm(D, rngs=rngs)
        self.up, self.down = nnx.Linear(D, INNER, rngs=rngs), nnx.Linear(INNER, D, rngs=rngs)

    def __call__(self, x):
        x = x + self.attn(self.norm(x))
        return x + self.down(jax.nn.gelu(self.up(x)))


class Listed(nnx.Module):
    """Blocks in a list, and a table that is the last map too."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(WORDS, D, rngs=rngs)
        self.blocks = nnx.List([Block(rngs)])

    def __call__(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.embed.attend(x)


class Scanned(nnx.Module):
    """Blocks stacked and scanned, each computed again in the backward pass or not."""

    def __init__(self, rngs, remat=False):
        self.embed, self.remat = nnx.Embed(WORDS, D, rngs=rngs), remat

        @nnx.split_rngs(splits=LAYERS)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def made(rngs):
            return Block(rngs)

        self.blocks = made(rngs)

    def __call__(self, ids):
        def apply_block(x, block):
            return block(x)

        turn = nnx.remat(apply_block) if self.remat else apply_block
        scan = nnx.scan(turn, in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return self.embed.attend(scan(self.embed(ids), self.blocks))


def tokens():
    ids = jax.random.randint(jax.random.key(1), (3, 5), 0, WORDS)
    return {"x": ids, "y": (ids + 1) % WORDS}


def pytree():
    """A plain dictionary: torch's W x, experts side by side, a table."""
    keys = jax.random.split(jax.random.key(3), 5)
    return {
        "embed": jax.random.normal(keys[0], (WORDS, D)),
        "w": jax.random.normal(keys[1], (INNER, D)) / 4,
        "v": jax.random.normal(keys[2], (D, INNER)) / 6,
        "experts": jax.random.normal(keys[3], (3, D, D)) / 4,
        "out": jax.random.normal(keys[4], (D, WORDS)) / 4,
    }


def pytree_loss(model, batch):
    x = model["embed"][batch["x"]]
    inner = jax.nn.relu(model["w"] @ x.reshape(-1, D).T)
    x = x + (model["v"] @ inner).T.reshape(x.shape)
    experts = jnp.stack([x, 2 * x, x * x])
    x = x + jnp.sum(jnp.einsum("ebtd,edf->ebtf", experts, model["experts"]), 0)
    return cross_entropy(x @ model["out"], batch["y"])


MODELS = {
    "listed": (lambda: Listed(nnx.Rngs(0)), loss),
    "scanned": (lambda: Scanned(nnx.Rngs(0)), loss),
    "remat": (lambda: Scanned(nnx.Rngs(0), remat=True), loss),
    "pytree": (pytree, pytree_loss),
}
model = functools.cache(lambda name: MODELS[name][0]())
