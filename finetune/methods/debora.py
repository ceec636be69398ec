"""dEBORA: directions from one half of the data, sizes from the other, by Frank-Wolfe.

With unit columns of U and V (the oblique variant) and all modules' s together,

    min over s of f1(U*, s, V*)  with  (U*, V*) = argmin f2(U, s, V)
    over  s >= eps,  sum s <= tau + r eps

for W + U diag(s) V^T, f1 and f2 the losses of the two halves of a batch. theta[path] is {a = U,
b = V^T, d = s}. There is no released code, and the published description was read in summaries:
what is marked [choice] is ours.

The gradient by s is the partial one, d f1 / ds: by the envelope theorem it is the hyper-gradient
where f1 = f2, and differentiation through the lower level confirms that on two samples the error
falls with their size. Without unit columns U and V would take up any change of s, and there would
be no gradient at all; a formula in circulation, with corrections for U and V, is its negative.
Tests show all three.

Source: Zangrando et al. (2025), "dEBORA", ICLR, as far as summaries go.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.flatten_util
import jax.numpy as jnp
import optax

from finetune.adapters import gated
from finetune.adapters.method import Leaves, Method, Objective, Pieces, Run, Tree
from finetune.methods import option_texts as texts
from finetune.optimiser import clipped
from finetune.optimisers import oblique
from finetune.ranks import frank_wolfe
from rankwise import checks
from rankwise.options import option

SEARCHES = ("line", "decay")
HALVINGS = 12


@dataclasses.dataclass(frozen=True)
class DeboraConfig:
    """Settings of `debora`.

    Attributes:
      rank: components of every module at first; r counts those of all modules that are left.
      tau: what all s may add up to, over all modules [choice], beside eps each.
      least: eps, smallest s of a component that is left, and its first value.
      lower: steps of the optimiser on U, V and head before each step of s.
      search: "decay" is Frank-Wolfe's step 2 / (t + 2) on s; "line" halves it until f1 falls by a
        tenth of what its gradient says. The step has to decay in both: on samples of a few rows a
        search from a constant one soon takes all s back to eps.
      prune_after: steps after which components with s < 2 eps are removed for good, as s < eps does
        not occur [choice]; None is half of the run [choice].
    """

    rank: int = option(8, texts.FIRST_RANK)
    tau: float = option(16.0, "largest sum of the singular values of all modules together")
    least: float = option(1e-4, "smallest singular value that a component may have")
    lower: int = option(1, "steps on the factors per step on singular values")
    search: str = option("line", "how far a step on singular values goes", SEARCHES)
    prune_after: int | None = option(
        None, "optimiser steps before small components are removed; by default half of the run"
    )

    def __post_init__(self):
        checks.integer("rank", self.rank, 1)
        checks.integer("lower", self.lower, 1)
        checks.choice("search", self.search, SEARCHES)
        checks.positive("tau", self.tau)
        checks.positive("least", self.least)
        if self.prune_after is not None:
            checks.integer("prune_after", self.prune_after, 0)


def debora(config: DeboraConfig, run: Run) -> Method:
    """A training step is `lower` steps on (U, V, head) against f2 and one on s against f1.

    Steps on U and V are tangent ones, then columns are normalised. The rows of a batch go to the
    two losses in turn. The step's loss is the mean of f2 before it and f1 between the two levels.
    At first s = eps: the outputs change by that much.

    Returns:
      A Method; aux[path] is {scale = 1}; float32 (float64 for float64 kernels). Ranks are numbers
      of components that are left. Building its step raises ValueError for a batch that is to be cut
      into parts, and the step for a batch of one row.

    Example:
      >>> from finetune.methods import MethodConfig, make
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = make(MethodConfig("debora", rank=2), OptimiserConfig(), total=100)
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> jnp.linalg.norm(theta["fc"]["b"], axis=1).round(5).tolist()
      [1.0, 1.0]
    """
    until = run.total // 2 if config.prune_after is None else config.prune_after

    def prepare(key, kernels, gradients):
        del gradients
        theta = oblique.unit(gated.start(key, kernels, config.rank, 1.0))
        for leaves in theta.values():
            leaves["d"] = jnp.full_like(leaves["d"], config.least)
        return theta, gated.scaled(theta, 1.0)

    def step_from(pieces: Pieces):
        if pieces.accumulate != 1:
            raise ValueError(f"accumulate is {pieces.accumulate}; method 'debora' allows 1")

        def step(state, params, batch):
            paths = tuple(state.theta)
            keys = jax.random.split(jax.random.fold_in(state.key, state.step), config.lower + 1)
            upper, lower = (_half(batch, first) for first in (0, 1))

            def descend(carry, key):
                theta, head, opt, head_opt = carry
                target = pieces.objective(paths, params, lower, key)
                value, (of_theta, of_head) = jax.value_and_grad(
                    lambda theta, head: target.loss(theta, state.aux, head), (0, 1)
                )(theta, head)
                (of_theta, of_head), norm = clipped(
                    (oblique.tangent(of_theta, theta), of_head), pieces.clip
                )
                updates, opt = method.tx.update(of_theta, opt, theta, step=state.step)
                theta = oblique.unit(optax.apply_updates(theta, updates))
                updates, head_opt = pieces.head_tx.update(of_head, head_opt, head, step=state.step)
                return (theta, optax.apply_updates(head, updates), opt, head_opt), (value, norm)

            carry = state.theta, state.head, state.opt, state.head_opt
            (theta, head, opt, head_opt), (values, norms) = jax.lax.scan(descend, carry, keys[:-1])
            target = pieces.objective(paths, params, upper, keys[-1])
            theta, value = _raised(config, until, target, theta, state.aux, head, state.step)
            metrics = {"loss": (values[0] + value) / 2, "gradient_norm": norms[0]}
            new = state._replace(
                theta=theta, head=head, opt=opt, head_opt=head_opt, step=state.step + 1
            )
            return new, metrics

        return step

    method = Method(
        name="debora",
        prepare=prepare,
        apply=gated.apply,
        lookup=gated.lookup,
        export=gated.export,
        tx=optax.partition({"factors": run.tx, "s": optax.set_to_zero()}, _labels),
        ranks=gated.ranks,
        step=step_from,
    )
    return method


def _raised(
    config, until: int | jax.Array, target: Objective, theta: Tree, aux: Tree, head: Leaves, step
):
    """theta after one step of s, and f1 before it."""

    def loss(s: Leaves):
        new = {path: {**leaves, "d": s[path]} for path, leaves in theta.items()}
        return target.loss(new, aux, head)

    old = {path: leaves["d"] for path, leaves in theta.items()}
    s, split = jax.flatten_util.ravel_pytree(old)
    value, gradient = jax.value_and_grad(loss)(old)
    gradient, _ = jax.flatten_util.ravel_pytree(gradient)
    alive = s > 0
    w = frank_wolfe.weights(s, config.tau, config.least, alive)
    way = frank_wolfe.direction(w, gradient, config.tau, alive)

    def at(w):
        return loss(split(frank_wolfe.point(w, config.tau, config.least, alive)))

    size = jnp.minimum(2 / (step + 2), way.most)
    if config.search == "line":
        size = frank_wolfe.searched(at, w, way, size, HALVINGS)
    w = frank_wolfe.moved(w, way, size.astype(w.dtype))
    alive = alive & ((step < until) | (config.tau * w[1:] >= config.least))
    new = split(frank_wolfe.point(w, config.tau, config.least, alive))
    theta = {path: {**leaves, "d": new[path]} for path, leaves in theta.items()}
    return theta, value


def _labels(theta: Tree) -> dict[str, dict[str, str]]:
    return {p: {n: "s" if n == "d" else "factors" for n in leaves} for p, leaves in theta.items()}


def _half(batch, first: int):
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows < 2:
        raise ValueError(f"batch_size is {rows}; method 'debora' allows 2 and more")
    return jax.tree.map(lambda leaf: leaf[first::2], batch)
