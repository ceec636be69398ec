"""Second moments of what the linear maps of a network read, collected as it runs.

Legend: X (n, in) the inputs of a map over n calibration tokens, S = X^T X / n; with an anchor, X of
the network as it is now, X_0 of the one as it was, C = X^T X_0 / n.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.ops import PLAIN, Ops, precision

Params = Mapping[str, jax.Array]
Forward = Callable[[Params, Mapping[str, Any], Ops], Any]
"""(parameters, a batch with attention_mask (B, L), ops) -> anything."""


class Moments(NamedTuple):
    """What calibration leaves behind.

    Attributes:
      grams: module path -> S (in, in), float32; maps that read the same input share one array.
      cross: module path -> C (in, in); empty without an anchor.
      tokens: n, padding left out.
    """

    grams: dict[str, np.ndarray]
    cross: dict[str, np.ndarray]
    tokens: int


def groups(forward: Forward, params: Params, batch: Mapping, paths: Iterable[str]) -> list[tuple]:
    """The paths in the order of the forward pass, those that read the same input together.

    Example:
      >>> def forward(params, batch, ops):
      ...     x = ops.linear("key", batch["x"], params["w"]) + ops.linear(
      ...         "value", batch["x"], params["w"])
      ...     return ops.linear("out", x, params["w"])
      >>> groups(forward, {"w": jnp.eye(2)}, {"x": jnp.ones((3, 2))}, ["out", "key", "value"])
      [('key', 'value'), ('out',)]
    """
    wanted, inputs = set(paths), []  # the inputs are kept: an id lives as long as its object

    def linear(path, x, kernel):
        if path in wanted:
            inputs.append((path, x))
        return PLAIN.linear(path, x, kernel)

    jax.eval_shape(lambda p, b: _nothing(forward(p, b, Ops(linear, PLAIN.embed))), params, batch)
    read = {}
    for path, x in inputs:
        read.setdefault(path, []).append(id(x))
    together = {}
    for path, ids in read.items():
        together.setdefault(tuple(ids), []).append(path)
    return [tuple(group) for group in together.values()]


def collect(
    forward: Forward,
    params: Params,
    batches: Iterable[Mapping],
    paths: Iterable[str],
    anchor: Params | None = None,
) -> Moments:
    """S of every map, and C with an anchor, in one pass over the batches.

    Products and sums are float32 in full precision: what that loses of the optimum is 1e-10 of it,
    as the answer is a projection whatever the rounding. Rows of padding are left out wherever a map
    reads rows (B, L).

    Args:
      forward: the network.
      params: by torch name.
      batches: with attention_mask.
      paths: of linear maps that go through `Ops`.
      anchor: parameters of the network whose outputs are to be kept.

    Raises:
      ValueError: no batch, no token, or activations that are not finite, which names the module.

    Example:
      >>> x, mask = jnp.array([[[3.0, 0.0], [9.0, 9.0]]]), jnp.array([[1, 0]])
      >>> batch = {"x": x, "attention_mask": mask}
      >>> forward = lambda params, batch, ops: ops.linear("fc", batch["x"], params["w"])
      >>> moments = collect(forward, {"w": jnp.eye(2)}, [batch], ["fc"])
      >>> moments.grams["fc"].tolist(), moments.tokens
      ([[9.0, 0.0], [0.0, 0.0]], 1)
    """
    together: list[tuple] = []

    def products(batch):
        together[:] = together or groups(forward, params, batch, paths)
        return _products(forward, tuple(g[0] for g in together), params, anchor, batch)

    sides, tokens = _means(batches, products)
    return _moments(together, sides, tokens)


def collect_group(
    forward: Forward,
    params: Params,
    batches: Iterable[Mapping],
    together: Sequence[tuple],
    number: int,
    anchor: Params | None = None,
) -> Moments:
    """`collect` for the maps of one group, by a program that is the same whichever it is.

    Args:
      together: of `groups`, or the first of them: what is behind these is not computed.
      number: of the group in it.
      forward, params, batches, anchor, Raises: as of `collect`.
    """
    firsts = tuple(group[0] for group in together)

    def products(batch):
        return _product_of(forward, firsts, params, anchor, batch, number)

    sides, tokens = _means(batches, products)
    size = params[f"{firsts[number]}.weight"].shape[0]
    sides = [{firsts[number]: side[size]} if side else {} for side in sides]
    return _moments([together[number]], sides, tokens)


def _means(batches, products) -> tuple[list[dict], int]:
    """Sums of products over all batches by their tokens, and how many these are."""
    sums, tokens = None, 0
    for batch in batches:
        new = products(batch)
        sums = new if sums is None else _added(sums, new)
        jax.block_until_ready(sums)  # else batches pile up, and progress runs ahead
        tokens += int(np.asarray(batch["attention_mask"]).sum())
    if sums is None or not tokens:
        raise ValueError("calibration is empty; allowed are texts with a token or more")
    return [{key: np.asarray(one) / tokens for key, one in side.items()} for side in sums], tokens


def _moments(together, sides, tokens: int) -> Moments:
    grams, cross = (
        {path: side[group[0]] for group in together for path in group} if side else {}
        for side in sides
    )
    for path, gram in grams.items():
        if not np.isfinite(gram).all():
            raise ValueError(
                f"the inputs of {path} contain NaN or infinity; allowed are finite numbers: look "
                "at the weights of the maps before it, or compute in float32"
            )
    return Moments(grams, cross, tokens)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _products(forward, paths, params, anchor, batch):
    now = _inputs(forward, paths, params, batch)
    before = {} if anchor is None else _inputs(forward, paths, anchor, batch)
    grams = {path: _product(x, x) for path, x in now.items()}
    return grams, {path: _product(now[path], x) for path, x in before.items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _product_of(forward, paths, params, anchor, batch, number):
    """The products of path number `number`, under the width of its inputs; others cost nothing."""
    now = _inputs(forward, paths, params, batch)
    before = {} if anchor is None else _inputs(forward, paths, anchor, batch)
    grams, cross = {}, {}
    for place, (path, x) in enumerate(now.items()):
        size = x.shape[1]
        for sums, right in ((grams, x), (cross, before.get(path))):
            if right is not None:
                rest = sums.get(size, jnp.zeros((size, size), jnp.float32))
                chosen = number == place
                sums[size] = jax.lax.cond(chosen, _product, lambda _, __, r=rest: r, x, right)
    return grams, cross


@functools.partial(jax.jit, donate_argnums=0)
def _added(sums, products):
    return jax.tree.map(jnp.add, sums, products)


def _inputs(forward, paths, params, batch):
    """path -> (rows, in), rows of padding zero."""
    read = {path: [] for path in paths}
    mask = batch["attention_mask"]

    def linear(path, x, kernel):
        if path in read:
            rows = x * mask[..., None].astype(x.dtype) if x.shape[:-1] == mask.shape else x
            read[path].append(rows.reshape(-1, x.shape[-1]).astype(jnp.float32))
        return PLAIN.linear(path, x, kernel)

    forward(params, batch, Ops(linear, PLAIN.embed))
    return {path: jnp.concatenate(rows) for path, rows in read.items()}


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    return jnp.matmul(left.T, right, precision=precision(jnp.float32))


def _nothing(_) -> int:
    return 0
