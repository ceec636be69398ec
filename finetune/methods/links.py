"""A chain of low-rank adapters: ReLoRA and COLA train one link, freeze it, and begin the next.

The base is never changed. What was trained before lies in aux[path], either as the list of its
links, `a` (in, N r) and `b` (N r, out) with the scale folded into a and zeros for links to come,
or, for many links, as the dense sum `acc` (in, out) of their products. N is known beforehand, so
nothing is compiled anew; the list makes an exact adapter of rank (N + 1) r, the sum a dense change.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters import factors
from finetune.adapters.method import Dense, Drop, Factors, Leaves, Method, Run, Tree
from finetune.methods import option_texts as texts
from finetune.methods.lora import LoraConfig, lora
from finetune.models.parts.ops import matmul
from finetune.optimiser import by_rate, rate
from rankwise import checks
from rankwise.options import option

STORES = ("links", "sum")
RATES = ("jagged", "own")


@dataclasses.dataclass(frozen=True)
class ChainConfig(LoraConfig):
    """What `relora` and `cola` have in common; those not named are LoRA's, of each link.

    Attributes:
      store: "links" keeps the factors of finished links, exact to export; "sum" their dense sum,
        smaller for more than in out / ((in + out) r) links.
      rates: "jagged" is the run's schedule, warmed up again after each restart; "own" gives every
        link the schedule over its own steps.
      rewarm: of "jagged": steps, or below 1 a share of the longest link's. Linear, 0 for none.
    """

    store: str = option(
        "links", "what is stored of finished links: the links one by one, or a dense sum", STORES
    )
    rates: str = option("jagged", texts.RATES, RATES)
    rewarm: float = option(
        0.05, "optimiser steps of warm-up after a restart; below 1 a share of the steps of a link"
    )

    def __post_init__(self):
        super().__post_init__()
        checks.choice("store", self.store, STORES)
        checks.choice("rates", self.rates, RATES)
        checks.positive("rewarm", self.rewarm, zero=True)


def chained(
    name: str,
    config: ChainConfig,
    run: Run,
    steps: tuple[int, ...],
    restart: Callable[[jax.Array, optax.OptState, optax.OptState], optax.OptState],
) -> Method:
    """y = x (W + sum_{j<k} s a_j b_j) + s (drop(x) a) b, where only link k is trained.

    At a restart the network computes what it did before: the new b is 0, its a is drawn as at the
    start (were a 0 too, neither would ever get a gradient).

    Args:
      config: the settings.
      steps: of each link; a restart is due once a link has had its own, so that none is missed.
      restart: (key, state, a fresh state) -> the optimiser's state for a new link.

    Returns:
      A Method; theta[path] is {a (in, r), b (r, out)}, aux[path] is {gain (r,), link () int32,
      rank () int32} with {a, b} or {acc} as above.
    """
    ends = np.cumsum(steps)
    begins, count, size = ends - np.asarray(steps), len(steps), config.rank
    # Of the longest link: the last may have a step or two.
    warm = int(config.rewarm * max(steps) if config.rewarm < 1 else config.rewarm)

    def current(step):
        return jnp.minimum(jnp.sum(step >= jnp.asarray(ends, jnp.int32)), count - 1)

    def rate_of(step):
        k = current(step)
        local = step - jnp.asarray(begins, jnp.int32)[k]
        if config.rates == "own":
            return rate(run.optimiser, local, jnp.asarray(steps, jnp.int32)[k])
        rising = jnp.minimum(1, (local + 1).astype(jnp.float32) / max(warm, 1))
        return run.rate(step) * jnp.where(k > 0, rising, 1)

    tx = optax.chain(run.direction, by_rate(rate_of))
    plain = lora(config, run)

    def prepare(key, kernels, gradients):
        theta, aux = plain.prepare(key, kernels, gradients)
        for path, leaves in theta.items():
            (size_in, size_out), dtype = kernels[path].shape, leaves["a"].dtype
            own = {"link": jnp.zeros((), jnp.int32), "rank": jnp.asarray(size, jnp.int32)}
            if config.store == "sum":
                own["acc"] = jnp.zeros((size_in, size_out), dtype)
            else:
                past = (count - 1) * size
                own |= {"a": jnp.zeros((size_in, past), dtype)}
                own |= {"b": jnp.zeros((past, size_out), dtype)}
            aux[path] |= own
        return theta, aux

    def post(theta: Tree, aux: Tree, opt, info):
        link = next(iter(aux.values()))["link"]
        due = (info.step + 1 >= jnp.asarray(ends, jnp.int32)[link]) & (link < count - 1)

        def restarted(theta, aux, opt):
            frozen = {path: _frozen(leaves, aux[path]) for path, leaves in theta.items()}
            fresh = _fresh(jax.random.fold_in(info.key, 0), theta)
            return fresh, frozen, restart(info.key, opt, tx.init(fresh))

        return jax.lax.cond(due, restarted, lambda *same: same, theta, aux, opt)

    return dataclasses.replace(
        plain,
        name=name,
        prepare=prepare,
        post=post,
        apply=apply,
        lookup=lookup,
        export=export,
        tx=tx,
    )


def _frozen(leaves: Leaves, entry: Leaves) -> Leaves:
    """aux[path] with the current link among the finished ones."""
    scaled, size = leaves["a"] * entry["gain"], leaves["a"].shape[1]
    new = {**entry, "link": entry["link"] + 1, "rank": entry["rank"] + size}
    if "acc" in entry:
        return new | {"acc": entry["acc"] + matmul(scaled, leaves["b"])}
    at = entry["link"] * size
    a = jax.lax.dynamic_update_slice_in_dim(entry["a"], scaled, at, 1)
    return new | {"a": a, "b": jax.lax.dynamic_update_slice_in_dim(entry["b"], leaves["b"], at, 0)}


def _fresh(key: jax.Array, theta: Tree) -> Tree:
    """Factors as LoRA's first ones, from one draw: one per component takes long to compile."""
    sizes = [leaves["a"].size for leaves in theta.values()]
    dtype = jnp.result_type(*(leaves["a"] for leaves in theta.values()))
    drawn = jnp.split(jax.random.uniform(key, (sum(sizes),), dtype, -1, 1), np.cumsum(sizes)[:-1])
    fresh = {}
    for (path, leaves), flat in zip(theta.items(), drawn, strict=True):
        a = flat.reshape(leaves["a"].shape) * leaves["a"].shape[0] ** -0.5
        fresh[path] = {"a": a.astype(leaves["a"].dtype), "b": jnp.zeros_like(leaves["b"])}
    return fresh


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """x (W + what is frozen) + ((drop(x) a) * gain) b; frozen links are part of the network."""
    if "acc" in aux:
        return factors.apply(x, kernel + aux["acc"], theta, aux, drop)
    return factors.apply(x, kernel, theta, aux, drop) + matmul(matmul(x, aux["a"]), aux["b"])


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of the table and all links."""
    rows = factors.lookup(ids, table, theta, aux)
    if "acc" in aux:
        return rows + aux["acc"].astype(table.dtype)[ids]
    return rows + matmul(aux["a"].astype(table.dtype)[ids], aux["b"])


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Factors | Dense:
    """[links, s a], [links; b] of the links so far; or with store="sum" their dense sum."""
    if "acc" in aux:
        return Dense(np.asarray(aux["acc"] + factors.delta(theta, aux)))
    last = factors.export(kernel, theta, aux)
    past = int(aux["link"]) * theta["a"].shape[1]
    a = np.concatenate([np.asarray(aux["a"])[:, :past], last.a], axis=1)
    return Factors(a, np.concatenate([np.asarray(aux["b"])[:past], last.b]))
