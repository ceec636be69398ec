"""Tiny language models of both kinds as training sees them, on few parameters."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.ops import PLAIN
from finetune.training.network import Network

WIDTH = 24


def talker(kind: str, vocabulary: int, start_id: int = 0, seed: int = 0, width: int = WIDTH):
    """Each token's logits are a function of it and of the mean of all before it."""
    g = np.random.default_rng(seed)
    shapes = {"embed": (vocabulary, width), "mix": (width, width), "out": (width, vocabulary)}
    params = {
        f"{name}.weight": jnp.asarray(
            g.standard_normal(shape) / np.sqrt(shape[0] ** 0.5), np.float32
        )
        for name, shape in shapes.items()
    }

    def mixed(params, ops, here, total, count):
        return jnp.tanh(ops.linear("mix", here + total / count, params["mix.weight"]))

    def said(params, hidden, ops):
        return ops.linear("out", hidden, params["out.weight"])

    def embedded(params, ops, ids, mask=None):
        result = ops.embed("embed", ids, params["embed.weight"])
        return result if mask is None else result * mask[..., None]

    def totals(params, ops, inputs):
        mask = inputs["attention_mask"].astype(np.float32)
        return embedded(params, ops, inputs["input_ids"], mask), mask

    def states(params, inputs, ops, key):
        del key
        each, mask = totals(params, ops, inputs)
        if kind == "causal":
            total, count = jnp.cumsum(each, 1), jnp.cumsum(mask, 1)
            return mixed(params, ops, each, total, jnp.maximum(count, 1)[..., None])
        here = embedded(params, ops, inputs["decoder_input_ids"])
        total = each.sum(1, keepdims=True) + jnp.cumsum(here, 1)
        count = mask.sum(1, keepdims=True) + jnp.arange(1, here.shape[1] + 1)
        return mixed(params, ops, here, total, count[..., None])

    def forward(params, inputs, ops, key):
        return said(params, states(params, inputs, ops, key), ops)

    def begin(params, inputs, ops, length):
        del length
        each, mask = totals(params, ops, inputs)
        total, count = each.sum(1), mask.sum(1)
        if kind == "encoder_decoder":
            start = jnp.full(len(total), start_id)
            return advance(params, (total, count), start, ops)
        last = jnp.take_along_axis(each, (count.astype(int) - 1)[:, None, None], 1)[:, 0]
        return (total, count), said(params, mixed(params, ops, last, total, count[:, None]), ops)

    def advance(params, cache, tokens, ops):
        here = embedded(params, ops, tokens)
        total, count = cache[0] + here, cache[1] + 1
        return (total, count), said(params, mixed(params, ops, here, total, count[:, None]), ops)

    return Network(
        forward,
        params,
        ("mix", "out"),
        (),
        kind=kind,
        begin=begin,
        advance=advance,
        states=states,
        vocabulary=said,
    )


def greedy(network, inputs, length: int, stop: int) -> list[list[int]]:
    """The likeliest tokens of each row up to and with `stop`, by the network's own steps."""
    inputs = {n: leaf for n, leaf in inputs.items() if n in ("input_ids", "attention_mask")}
    cache, logits = network.begin(network.params, inputs, PLAIN, length)
    tokens = []
    for _ in range(length):
        tokens.append(jnp.argmax(logits, -1))
        cache, logits = network.advance(network.params, cache, tokens[-1], PLAIN)
    rows = np.stack(tokens, 1).tolist()
    return [row[: row.index(stop) + 1] if stop in row else row for row in rows]


def trained(network, task, steps: int = 60, rate: float = 0.05, batch_size: int = 8):
    """The network after a few steps of sign descent on all its parameters."""

    def loss(params, batch):
        inputs = {n: leaf for n, leaf in batch.items() if n not in ("labels", "weight")}
        logits = network.forward(params, inputs, PLAIN, None)
        return task.loss(logits, batch["labels"], batch["weight"])

    @jax.jit
    def step(params, batch):
        slope = jax.grad(loss)(params, batch)
        return jax.tree.map(lambda p, g: p - rate * jnp.tanh(20 * g), params, slope)

    params = network.params
    for number in range(steps):
        params = step(params, task.batch("train", 0, number, batch_size))
    return dataclasses.replace(network, params=params)
