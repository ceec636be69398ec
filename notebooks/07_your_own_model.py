# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A model of your own
#
# `finetune.adapt` takes a model and a loss as they are. It traces the loss once, finds the products with
# the model's kernels, and lets a method compute them; the model's code is neither rewritten nor changed.
# Here a small transformer in flax, written as its author likes, learns a new task by LoRA and by AdaPaD,
# in a loop of its author's, and then goes to PyTorch.
#
# 1. The model, and what it knows already.
# 2. LoRA against AdaPaD on a new task.
# 3. Where the ranks went.
# 4. Merged, saved, loaded.
# 5. In PEFT, on the same network in PyTorch.

# %%
# Figures that a function returns are shown.
# %matplotlib inline
import importlib.util
import os
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx

import finetune

QUICK = "RANKWISE_QUICK" in os.environ  # smaller numbers for continuous integration
plt.rcParams["figure.dpi"] = 110
WORDS, LENGTH, WIDTH, HEADS, LAYERS = 12, 8, 32, 4, 2
FIRST, STEPS = (30, 30) if QUICK else (1500, 600)

# %% [markdown]
# ## The model, and what it knows already
#
# Attention with one kernel of four axes for keys and values, another of three that joins the heads, and a
# product by hand at the end: nothing of it was written with adapters in mind.


# %%
class Block(nnx.Module):
    def __init__(self, rngs):
        size = WIDTH // HEADS
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.query = nnx.LinearGeneral(WIDTH, (HEADS, size), rngs=rngs)
        self.both = nnx.Einsum("btd,cdhk->cbthk", (2, WIDTH, HEADS, size), None, rngs=rngs)
        self.out = nnx.LinearGeneral((HEADS, size), WIDTH, axis=(-2, -1), rngs=rngs)
        self.up = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x):
        y = self.norms[0](x)
        keys, values = self.both(y)
        x = x + self.out(jax.nn.dot_product_attention(self.query(y), keys, values))
        return x + self.down(jax.nn.gelu(self.up(self.norms[1](x))))


class Transformer(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.places = nnx.Param(0.1 * jax.random.normal(rngs.params(), (LENGTH, WIDTH)))
        self.blocks = nnx.List([Block(rngs) for _ in range(LAYERS)])
        self.last = nnx.Param(jax.random.normal(rngs.params(), (WIDTH, WORDS)) / WIDTH**0.5)

    def __call__(self, ids):
        x = self.embed(ids) + self.places[...]
        for block in self.blocks:
            x = block(x)
        return x @ self.last[...]


def loss(model, batch):
    logits = model(batch["ids"])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch["answer"]))


def right(model, batch):
    return jnp.mean(jnp.argmax(model(batch["ids"]), -1) == batch["answer"])


# %% [markdown]
# It first learns to write a sequence backwards. The new task asks for the sequence backwards with one added
# to every word: little has to change.


# %%
def batches(count, new, seed):
    for number in range(count):
        key = jax.random.fold_in(jax.random.key(seed), number)
        ids = jax.random.randint(key, (64, LENGTH), 0, WORDS)
        yield {"ids": ids, "answer": (ids[:, ::-1] + new) % WORDS}


model = Transformer(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)


@nnx.jit
def pretrain(model, optimizer, batch):
    optimizer.update(model, nnx.grad(loss)(model, batch))


for batch in batches(FIRST, new=0, seed=1):
    pretrain(model, optimizer, batch)
(known,) = batches(1, new=0, seed=2)
(test,) = batches(1, new=1, seed=3)
print(f"backwards {right(model, known):.0%}, the new task {right(model, test):.0%}")

# %% [markdown]
# ## LoRA against AdaPaD
#
# Both may spend 30 components on the 10 kernels of the blocks. LoRA gives every kernel three. AdaPaD starts
# with one each and lets those grow where a step would lower the loss most; its ranks are data, so that growth
# compiles nothing.

# %%
settings = {"steps": STEPS, "modules": "blocks", "learning_rate": 1e-2}
ways = {
    "LoRA": finetune.adapt(loss, model, test, "lora", rank=3, **settings),
    "AdaPaD": finetune.adapt(loss, model, test, "adapad", rank=6, budget=30, **settings),
}
ways["LoRA"]

# %%
states, curves = {}, {}
for name, tuned in ways.items():
    state, curve = tuned.init(jax.random.key(0)), []
    for batch in batches(STEPS, new=1, seed=4):
        state, metrics = tuned.step(state, batch)
        curve.append(float(metrics["loss"]))
    states[name], curves[name] = state, np.asarray(curve)
    score = tuned.bind(right)(state, test)
    print(f"{name}: {score:.0%} right, {tuned.parameters(state)} numbers trained")


# %%
def curve_figure():
    figure, axes = plt.subplots(figsize=(5, 3))
    for name, curve in curves.items():
        width = max(1, STEPS // 60)
        smooth = np.convolve(curve, np.ones(width) / width, "valid")
        axes.semilogy(np.arange(len(smooth)) + width, smooth, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


_ = curve_figure()

# %% [markdown]
# ## Where the ranks went


# %%
def rank_figure():
    ranks = {name: ways[name].ranks(state) for name, state in states.items()}
    paths = list(ranks["LoRA"])
    figure, axes = plt.subplots(figsize=(5, 3))
    for number, (name, own) in enumerate(ranks.items()):
        places = np.arange(len(paths)) + 0.4 * number - 0.2
        axes.barh(places, [own[path] for path in paths], 0.4, label=name)
    axes.set_yticks(range(len(paths)), [path.removeprefix("blocks.") for path in paths])
    axes.invert_yaxis()
    axes.set_xlabel("rank")
    axes.legend(frameon=False)
    figure.tight_layout()
    return figure


_ = rank_figure()

# %% [markdown]
# ## Merged, saved, loaded
#
# `merge` gives a plain `Transformer`, which needs nothing of this program; the model that was given is as it
# was. What `save` wrote comes back to the bit.

# %%
tuned, state = ways["AdaPaD"], states["AdaPaD"]
merged = tuned.merge(state)
folder = pathlib.Path(tempfile.mkdtemp())
tuned.save(folder / "tuned.safetensors", state)
again = tuned.load(folder / "tuned.safetensors")
rows = {
    "adapted": tuned.bind(loss)(state, test),
    "merged": loss(merged, test),
    "loaded": tuned.bind(loss)(again, test),
}
for name, value in rows.items():
    print(f"{name:8} {value:.6f}")
assert rows["adapted"] == rows["loaded"]
print(type(merged).__name__, f"- the model given still writes {right(model, known):.0%} backwards")

# %% [markdown]
# ## In PEFT
#
# The same network in PyTorch may call its modules otherwise, and cut kernels of several axes into matrices:
# PEFT sees (in, out) alone. `names` says what is what. Here the maps up and down are enough, and the blocks
# of a twin.

# %%
if importlib.util.find_spec("peft"):
    import peft
    import torch

    class Feed(torch.nn.Module):
        def __init__(self, block):
            super().__init__()
            self.rise, self.fall = (self.linear(layer) for layer in (block.up, block.down))

        @staticmethod
        def linear(layer):
            twin = torch.nn.Linear(*layer.kernel.shape)
            twin.weight.data = torch.tensor(np.array(layer.kernel[...].T))
            twin.bias.data = torch.tensor(np.array(layer.bias[...]))
            return twin

        def forward(self, x):
            return self.fall(torch.nn.functional.gelu(self.rise(x), approximate="tanh"))

    only = finetune.adapt(
        loss, model, test, "adapad", rank=4, budget=8, **settings | {"modules": "up|down"}
    )
    state = only.init(jax.random.key(0))
    for batch in batches(20, new=1, seed=4):
        state, _ = only.step(state, batch)
    names = {
        f"blocks.{number}.{ours}": f"{number}.{theirs}"
        for number in range(LAYERS)
        for ours, theirs in (("up", "rise"), ("down", "fall"))
    }
    only.export_peft(folder / "peft", state, base="twin", names=names)
    twin = torch.nn.ModuleList([Feed(block) for block in model.blocks])
    twin = peft.PeftModel(twin, peft.PeftConfig.from_pretrained(folder / "peft"))
    twin.load_adapter(folder / "peft", "default")

    def feed(model, x):
        block = model.blocks[1]
        return block.down(jax.nn.gelu(block.up(x)))

    x = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)
    ours = only.bind(feed)(state, x)
    theirs = twin.base_model.model[1](torch.tensor(x)).detach().numpy()
    print(f"largest difference of the second block's outputs: {np.abs(ours - theirs).max():.1e}")
    print(f"of what the adapter changed by up to {np.abs(ours - feed(model, x)).max():.2f}")
