"""Full matrices optimised in a small subspace: what GaLore and AdaRankGrad share.

The state of a module is a dict: `basis` P (d, r) with orthonormal columns (or zeros, for those not
in use), d the smaller side of the kernel, and, with Adam, `first` and `second` (r, n), n the larger
side. A gradient is laid on its side where in > out, so that P^T G is always (r, n): only the order
of the entries differs from the source, which keeps (in, r) there, and Adam does not see that.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters.method import Dense, Drop, Gradients, Leaves, Method, Run, Tree, together
from finetune.adapters.tables import column, each
from finetune.models.parts.ops import matmul

Refresh = Callable[[jax.Array, Leaves], Leaves]
MOMENTS = ("kept", "rotated", "squared", "reset")


def start(kernels: Leaves) -> tuple[Tree, Tree]:
    """theta with delta = 0 (in, out), float32 (float64 for float64 kernels), and an empty aux."""
    theta = {
        path: {"delta": jnp.zeros(kernel.shape, jnp.promote_types(kernel.dtype, jnp.float32))}
        for path, kernel in sorted(kernels.items())
    }
    return theta, {path: {} for path in theta}


def apply(x: jax.Array, kernel: jax.Array, theta: Leaves, aux: Leaves, drop: Drop) -> jax.Array:
    """x W + drop(x) delta in the dtype of x."""
    del aux
    dropped = drop(x)
    if dropped is x:  # no dropout in this run: one product in place of two
        return matmul(x, kernel + theta["delta"])
    return matmul(x, kernel) + matmul(dropped, theta["delta"])


def lookup(ids: jax.Array, table: jax.Array, theta: Leaves, aux: Leaves) -> jax.Array:
    """Rows `ids` of table + delta."""
    del aux
    return table[ids] + theta["delta"].astype(table.dtype)[ids]


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Dense:
    """delta; the exporter may cut it down to factors, see `finetune.peft.truncation`."""
    del kernel, aux
    return Dense(np.asarray(theta["delta"]))


def wide(matrix: jax.Array) -> jax.Array:
    """The matrix, transposed where it has more rows than columns: (d, n) with d <= n."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def canonical(basis: jax.Array) -> jax.Array:
    """Columns (d, r) whose entry of largest size is positive: an SVD leaves their signs open."""
    at = jnp.argmax(jnp.abs(basis), axis=0)
    largest = jnp.take_along_axis(basis, at[None], axis=0)
    return jnp.where(largest < 0, -basis, basis)


def leading(gradient: jax.Array, rank: int) -> jax.Array:
    """The `rank` leading left singular vectors (d, r) of a wide gradient, in its dtype.

    The SVD is that of float32 whatever the dtype, as in the released code of GaLore.

    Example:
      >>> leading(jnp.array([[0.0, 0.0, 1.0], [0.0, -2.0, 0.0]]), 1).ravel().tolist()
      [0.0, 1.0]
    """
    left = jnp.linalg.svd(gradient.astype(jnp.float32), full_matrices=False)[0]
    return canonical(left[:, :rank]).astype(gradient.dtype)


def adaptive(
    gradient: jax.Array, rank: int, *, least: int, residual: float, sample: jax.Array | None = None
) -> jax.Array:
    """`leading` with only as many columns as are needed, the others (d, rank) set to 0.

    The least r from `least` to `rank` with ||G - P P^T G||_F < residual ||G||_F.

    Args:
      sample: random (n, columns), for a sketch of the gradient whose singular vectors stand for the
        gradient's; None, or d columns and more, for an exact SVD.

    Example:
      >>> gradient = jnp.diag(jnp.array([10.0, 1.0, 0.1]))
      >>> adaptive(gradient, 2, least=1, residual=0.2).tolist()
      [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """
    matrix = gradient.astype(jnp.float32)
    if sample is not None and sample.shape[1] < matrix.shape[0]:
        frame = jnp.linalg.qr(matmul(matrix, sample))[0]
        left, values, _ = jnp.linalg.svd(matmul(frame.T, matrix), full_matrices=False)
        left = matmul(frame, left)
    else:
        left, values, _ = jnp.linalg.svd(matrix, full_matrices=False)
    total = jnp.sum(matrix**2)
    missed = total - jnp.cumsum(values[:rank] ** 2)
    needed = 1 + jnp.sum(missed >= residual**2 * total)
    live = jnp.arange(rank) < jnp.clip(needed, min(least, rank), rank)
    return jnp.where(live, canonical(left[:, :rank]), 0).astype(gradient.dtype)


def carried(state: Leaves, basis: jax.Array, how: str) -> Leaves:
    """The state with another basis; what becomes of the moments is one of `MOMENTS`.

    With C = P_new^T P_old: "kept" leaves them as they are, "rotated" gives C m and max(C v, 0),
    "squared" C m and (C * C) v, which cannot be negative, "reset" zeros.
    """
    new = {**state, "basis": basis}
    if "first" not in state or how == "kept":
        return new
    if how == "reset":
        return new | {name: jnp.zeros_like(state[name]) for name in ("first", "second")}
    turn = matmul(basis.T, state["basis"])
    second = turn if how == "rotated" else turn**2
    second = jnp.maximum(matmul(second, state["second"]), 0)
    return new | {"first": matmul(turn, state["first"]), "second": second}


def projected(
    run: Run,
    refresh_of: Callable[[jax.Array, int], Refresh],
    rank: int,
    *,
    scale: float,
    raw_epsilon: bool = False,
    more: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    """delta <- delta - eta s P rho(P^T G), then W + delta <- (1 - eta lambda) (W + delta).

    rho is Adam or, with the optimiser "sgd", the identity. Its correction counts the steps of the
    run and never starts anew.

    Args:
      run: optimiser and rate. Weight decay comes last, on the new weights, as in the source; the
        update takes the kernels it decays as `base` where they count (else delta alone decays).
      refresh_of: (step, largest n) -> (wide gradient (d, n), state of the module) -> state, for all
        modules of a step.
      rank: columns of a basis, at most d.
      scale: s.
      raw_epsilon: see `GaloreConfig`.
      more: further entries of the state of a module at first.
    """
    options, adam = run.optimiser, run.optimiser.name == "adamw"
    decay = options.weight_decay if adam else 0.0

    def init(theta: Tree) -> Tree:
        state = {}
        for path, leaves in theta.items():
            side, length = wide(leaves["delta"]).shape
            dtype, size = leaves["delta"].dtype, min(rank, side)
            own = {"basis": jnp.zeros((side, size), dtype), **(more or {})}
            if adam:
                own |= {name: jnp.zeros((size, length), dtype) for name in ("first", "second")}
            state[path] = own
        return state

    def rule(state: Leaves, seen: jax.Array, step) -> tuple[Leaves, jax.Array]:
        if not adam:
            return state, seen
        one, two = options.beta1, options.beta2
        first = one * state["first"] + (1 - one) * seen
        second = two * state["second"] + (1 - two) * seen**2
        count = (step + 1).astype(seen.dtype)
        # 1 - beta^k without its cancellation.
        of_first, of_second = (-jnp.expm1(count * float(np.log(beta))) for beta in (one, two))
        epsilon = options.epsilon * (jnp.sqrt(1 / of_second) if raw_epsilon else 1)
        move = first / of_first / (jnp.sqrt(second / of_second) + epsilon)
        return {**state, "first": first, "second": second}, move

    def update(gradients: Tree, state: Tree, theta: Tree, *, step, base=None, **_):
        size = run.rate(step)
        longest = max((max(leaf.shape[-2:]) for leaf in jax.tree.leaves(gradients)), default=1)
        refresh = refresh_of(step, longest)

        def moved(leaves: Leaves, own: Leaves, parameters: Leaves, *kernel: jax.Array):
            delta, gradient = parameters["delta"], wide(leaves["delta"])
            own = refresh(gradient, own)
            own, move = rule(own, matmul(own["basis"].T, gradient), step)
            move = matmul(own["basis"], move)
            move = move if move.shape == delta.shape else move.T
            rate = size.astype(delta.dtype)
            change = -rate * scale * move
            if decay:
                change = change - rate * decay * sum(kernel, start=delta + change)
            return {"update": {"delta": change}, "state": own}

        tables = gradients, state, theta, *([] if base is None else [base])
        both = each(moved, *tables, in_turn=True)
        return column(both, "update"), column(both, "state")

    return optax.GradientTransformationExtraArgs(init, update)


def assembled(name: str, run: Run, tx, decay_base: bool, **more) -> Method:
    """The Method with theta[path] = {delta} and this optimiser."""

    def with_base(objective, theta, aux, head, step, key) -> Gradients:
        gathered = together(objective, theta, aux, head, step, key)
        return gathered._replace(info={"base": objective.kernels()})

    # Passed on only where it is read: the parts of an accumulated batch would each carry a copy.
    decays = decay_base and run.optimiser.weight_decay and run.optimiser.name == "adamw"
    return Method(
        name=name,
        prepare=lambda key, kernels, gradients: start(kernels),
        apply=apply,
        lookup=lookup,
        export=export,
        tx=tx,
        grads=with_base if decays else together,
        **more,
    )
