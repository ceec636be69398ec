"""What a fine-tuning method is: a record of pure functions that the training loop calls.

Notation of this package: a kernel W (in, out) acts as y = x W. theta[path] holds the trained arrays
of one module, aux[path] what belongs to it and is not trained (scales, ranks, averages); path is
the module's name in torch. An adapter has factors a (in, R) and b (R, out) and a gain (R,):

    y = x W + ((x a) * gain) b

R is static and ranks are data: a component that does not exist yet has gain 0. So growing or
pruning never recompiles, provided that every leaf keeps its dtype.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.sampling import GradientOptions
from finetune.optimiser import OptimiserConfig, Rate, direction, optimiser, rate

Leaves = dict[str, jax.Array]
Tree = dict[str, Leaves]
Drop = Callable[[jax.Array], jax.Array]


class Factors(NamedTuple):
    """A low-rank change of a kernel, W + a b, all scales folded in.

    Attributes:
      a: (in, r).
      b: (r, out). r may be 0.
    """

    a: jax.Array
    b: jax.Array

    @property
    def delta(self) -> jax.Array:
        """The change itself, (in, out)."""
        return self.a @ self.b


class Scaled(NamedTuple):
    """A change of a kernel that sets the lengths of its columns, V diag(magnitude / |V|).

    V is W + a b, all scales folded in, and |V| (out,) has the lengths of its columns, over the
    inputs: the change depends on W and is no sum with it.

    Attributes:
      a: (in, r).
      b: (r, out).
      magnitude: (out,).
    """

    a: jax.Array
    b: jax.Array
    magnitude: jax.Array


class Dense(NamedTuple):
    """A change of a kernel that is no product of small factors, W + delta.

    Attributes:
      delta: (in, out).
    """

    delta: jax.Array


Change = Factors | Scaled | Dense
"""What an adapter makes of one kernel, in a form that can be stored."""


class Refused(NamedTuple):
    """A module that has no such form."""

    reason: str


class Objective(NamedTuple):
    """The loss of one batch, as the methods see it.

    Attributes:
      loss: (theta, aux, head, kernels=None) -> scalar; a module that `kernels` names uses the
        kernel given there, so that the dense gradient dL/dW is a derivative like any other.
      kernels: () -> path -> the kernels of the adapted modules.
    """

    loss: Callable[..., jax.Array]
    kernels: Callable[[], Leaves]


class Pieces(NamedTuple):
    """What a method that replaces the training step builds its own from.

    Attributes:
      objective: (paths, params, batch, key) -> Objective of that batch, with dropout from the key.
      head_tx: of the head; its update takes `step`.
      clip: largest global norm of gradients, 0 for none.
      accumulate: parts that the run wants a batch cut into.
    """

    objective: Callable[..., Objective]
    head_tx: optax.GradientTransformation
    clip: float
    accumulate: int


class Gradients(NamedTuple):
    """What `Method.grads` returns.

    Attributes:
      loss: scalar, of the deployed network where the method has one.
      theta: like theta.
      head: like the head's parameters.
      info: arrays for the optimiser (as keyword arguments) and for `post`. Over the parts of an
        accumulated batch floating entries are averaged, of others the last is taken.
    """

    loss: jax.Array
    theta: Tree
    head: Leaves
    info: dict[str, Any]


class Info(NamedTuple):
    """What `Method.post` learns about the step.

    Attributes:
      step: number of the step just taken, from 0, int32.
      key: a key of this step alone.
      gradients: of theta, clipped, the regulariser's included.
      extra: the `info` of `Gradients`.
    """

    step: jax.Array
    key: jax.Array
    gradients: Tree
    extra: dict[str, Any]


def together(objective: Objective, theta: Tree, aux: Tree, head: Leaves, step, key) -> Gradients:
    """The default `Method.grads`: one pass, all of theta and the head against one loss."""
    del step, key

    def loss(theta, head):
        return objective.loss(theta, aux, head)

    value, (of_theta, of_head) = jax.value_and_grad(loss, (0, 1))(theta, head)
    return Gradients(value, of_theta, of_head, {})


def unregularised(theta: Tree, aux: Tree) -> jax.Array:
    """The default `Method.regulariser`."""
    del theta, aux
    return jnp.zeros((), jnp.float32)


def unchanged(theta: Tree, aux: Tree, opt: Any, info: Info):
    """The default `Method.post`."""
    del info
    return theta, aux, opt


def recorded_ranks(theta: Tree, aux: Tree) -> Leaves:
    """The default `Method.ranks`: aux[path]["rank"] where there is one, else the width of a."""
    return {
        path: aux[path].get("rank", jnp.asarray(leaves["a"].shape[-1], jnp.int32))
        for path, leaves in theta.items()
        if "a" in leaves
    }


@dataclasses.dataclass(frozen=True)
class Run:
    """What a method is built for, beside its own settings.

    Attributes:
      optimiser: optimiser and learning rate.
      total: steps of the run.
      mesh: devices, None for one.
    """

    optimiser: OptimiserConfig
    total: int
    mesh: jax.sharding.Mesh | None = None

    @property
    def level_mesh(self) -> jax.sharding.Mesh | None:
        """The mesh if levels of deflation are dealt out on it: if it has an axis "level"."""
        return None if self.mesh is None or "level" not in self.mesh.axis_names else self.mesh

    @property
    def tx(self) -> optax.GradientTransformationExtraArgs:
        """The plain optimiser with its learning rate."""
        return optimiser(self.optimiser, self.total)

    @property
    def direction(self) -> optax.GradientTransformation:
        """The optimiser without its learning rate, for methods that have rates of their own."""
        return direction(self.optimiser)

    @property
    def rate(self) -> Rate:
        """step -> learning rate."""
        return lambda step: rate(self.optimiser, step, self.total)


TRAINED = ("head", "all", "nothing")


@dataclasses.dataclass(frozen=True, eq=False)
class Method:
    """A way to fine-tune, as pure functions over theta and aux.

    Attributes:
      name: as in `finetune.methods.NAMES`.
      prepare: (key, kernels, gradients or None) -> (theta, aux), both with explicit dtypes.
      apply: (x (..., in), kernel, theta[path], aux[path], drop) -> y (..., out), without bias; drop
        is the dropout that acts on an adapter's input.
      export: (kernel, theta[path], aux[path]) -> Factors, Scaled, Dense or Refused; on the host.
      tx: optax transformation of theta's gradients into updates. Gets `step`, and the entries of
        `Gradients.info`, as keyword arguments.
      grads: (Objective, theta, aux, head, step, key) -> Gradients.
      regulariser: (theta, aux) -> scalar added to the loss of theta.
      post: (theta, aux, opt, Info) -> the three of them: growth, masks, resets of moments. A part
        of every step: a loop of one's own calls `finetune.training.step.advance`, never tx alone.
      lookup: (ids, table, theta[path], aux[path]) -> rows, for methods that adapt embeddings.
      ranks: (theta, aux) -> path -> int32.
      own_clipping: `grads` or `tx` clips theta's gradients; the run's clip is for the head alone.
      needs_gradients: `prepare` gets path -> dL/dW of the network before training, estimated as
        these options say; None for methods that do not look at it.
      settle: ((theta, aux) -> loss on the rows of that gradient, theta, aux) -> (theta, aux), for
        methods that choose by that loss before the first step; on the host.
      beside: what of the network itself is trained beside theta: its "head" (unless the run says
        otherwise), "all" of it, or "nothing". Without adapters where it is not "head".
      layerwise: whether it treats every array by itself, whatever its name and leading axes, or
        modules by `finetune.adapters.tables`: then the arrays of many layers may be given to
        `grads`, `tx` and `post` as one.
      step: Pieces -> the function (state, params, batch) -> (state, metrics) that replaces the
        whole training step, for methods with losses or loops of their own.
    """

    name: str
    prepare: Callable[[jax.Array, Mapping[str, jax.Array], Any], tuple[Tree, Tree]]
    apply: Callable[[jax.Array, jax.Array, Leaves, Leaves, Drop], jax.Array]
    export: Callable[[jax.Array, Leaves, Leaves], Change | Refused]
    tx: optax.GradientTransformation
    grads: Callable[..., Gradients] = together
    regulariser: Callable[[Tree, Tree], jax.Array] = unregularised
    post: Callable[[Tree, Tree, Any, Info], tuple[Tree, Tree, Any]] = unchanged
    lookup: Callable[..., jax.Array] | None = None
    ranks: Callable[[Tree, Tree], Leaves] = recorded_ranks
    own_clipping: bool = False
    needs_gradients: GradientOptions | None = None
    settle: Callable[..., tuple[Tree, Tree]] | None = None
    beside: str = "head"
    step: Callable[[Pieces], Callable[..., Any]] | None = None
    layerwise: bool = False
