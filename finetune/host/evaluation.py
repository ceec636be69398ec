"""A function of a model evaluated on the adapted model: the products are the method's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from finetune.host.modules import ROWS, Module
from finetune.host.views import view
from finetune.host.walk import Walk
from finetune.models.parts.ops import Ops, as_asked


def evaluate(
    function: Callable[..., Any],
    arrays: Mapping[str, jax.Array],
    modules: Mapping[str, Module],
    ops: Ops,
    *arguments: Any,
) -> Any:
    """function(arrays, *arguments) with the products and look-ups of some arrays by `ops`.

    Args:
      function: pure, of arrays by name and pytrees of arrays.
      modules: array name -> Module; the other arrays are left alone.

    Example:
      >>> from finetune.host.discovery import discover
      >>> from finetune.models.parts.ops import PLAIN
      >>> arrays, x = {"w": jnp.eye(3)}, jnp.ones((2, 3))
      >>> def f(arrays, x):
      ...     return jnp.sum(x @ arrays["w"])
      >>> modules = discover(lambda *given: (f(*given), {}), arrays, (), x).modules
      >>> twice = PLAIN._replace(linear=lambda path, x, kernel: 2 * (x @ kernel))
      >>> float(evaluate(f, arrays, modules, twice, x))
      12.0
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(dict(arrays), *arguments)
    walk = _Evaluation(modules, ops)
    inputs = [
        view(name, leaf, walk.stacked(modules[name])) if name in modules else leaf
        for name, leaf in sorted(arrays.items())
    ]
    outputs = walk.run(closed, [*inputs, *jax.tree.leaves(arguments)])
    arrays = [walk.as_array(output, "return") for output in outputs]
    return jax.tree.unflatten(jax.tree.structure(shape), arrays)


class _Evaluation(Walk):
    def __init__(self, modules: Mapping[str, Module], ops: Ops):
        self.modules, self.ops = modules, ops

    def stacked(self, module: Module) -> Any:
        """The leaves of the change with the axes of the stack in front; None without a stack."""
        if not module.stack:
            return None
        sizes = module.sizes(module.stack)
        leaves = self.ops.stacked(module.paths)
        return jax.tree.map(lambda leaf: leaf.reshape(*sizes, *leaf.shape[1:]), leaves)

    def sliced(self, view):
        left = self._stack(view)
        return view.leaves if left and view.axes[0][0] == left[0] else None

    def _stack(self, view) -> tuple[int, ...]:
        return tuple(i for i in self.modules[view.name].stack if i in view.left)

    def _mapped(self, view, function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
        """function(ops, *arrays), over the axes of the stack that are left, which are in front."""
        path = self.modules[view.name].paths[0]
        if view.leaves is None:
            return function(self.ops, *arrays)

        def applied(leaves, *arrays):
            return function(self.ops.at(path, leaves), *arrays)

        for _ in self._stack(view):
            applied = jax.vmap(applied)
        return applied(view.leaves, *arrays)

    def value(self, view, primitive):
        module = self.modules[view.name]
        path = module.paths[0]
        matrices = self._mapped(
            view,
            lambda ops, kernel: ops.kernel(path, kernel),
            module.matrices(view.value, view.left),
        )
        return view.array(module.restored(matrices, view.left))

    def rows(self, view, places, equation):
        module = self.modules[view.name]
        if module.kind != ROWS or module.stack or view.axes != (module.ins, module.outs):
            return None
        embedded = self.ops.embed(module.paths[0], places[..., 0], view.value)
        return embedded.astype(equation.outvars[0].aval.dtype)

    def product(self, view, other, equation, kernel_first):
        module, parameters = self.modules[view.name], equation.params
        (left, right), (batch_left, batch_right) = parameters["dimension_numbers"]
        own, own_batch, summed, batch = right, batch_right, left, batch_left
        if kernel_first:
            own, own_batch, summed, batch = left, batch_left, right, batch_right
        free = [k for k in range(len(view.axes)) if k not in own and k not in own_batch]
        ins, outs = view.flat(own), view.flat(free)
        fits = (
            module.kind != ROWS
            and (tuple(sorted(ins)), tuple(sorted(outs))) == (module.ins, module.outs)
            and view.flat(own_batch) == self._stack(view)
            and parameters.get("out_sharding") is None
        )
        if not fits:
            return None
        x, ahead = _activations(other, batch, summed, module.sizes(ins), _order(ins))
        # A narrower x is widened, which is exact; a kernel would be narrowed by the product.
        x = x.astype(jnp.promote_types(x.dtype, view.dtype))
        precision = parameters["precision"]
        if kernel_first and isinstance(precision, tuple):
            precision = precision[::-1]
        with as_asked(precision, parameters["preferred_element_type"]):
            y = self._mapped(
                view,
                lambda ops, x, kernel: ops.linear(module.paths[0], x, kernel),
                x,
                module.matrices(view.value, view.left),
            )
        result = equation.outvars[0].aval
        y = y.reshape(*ahead, *module.sizes(module.outs))
        order = [len(ahead) + module.outs.index(i) for i in outs]
        if kernel_first:  # batch, kernel, activations
            order = [*range(len(batch)), *order, *range(len(batch), len(ahead))]
        else:
            order = [*range(len(ahead)), *order]
        return jnp.transpose(y, order).reshape(result.shape).astype(result.dtype)


def _order(axes: Sequence[int]) -> list[int]:
    return [axes.index(i) for i in sorted(axes)]


def _activations(x, batch, summed, sizes, order) -> tuple[jax.Array, tuple[int, ...]]:
    """x as (batch ..., free ..., in) with the parts of `in` in another order, and all but `in`."""
    free = [k for k in range(x.ndim) if k not in batch and k not in summed]
    x = jnp.transpose(x, [*batch, *free, *summed])
    ahead = x.shape[: len(batch) + len(free)]
    x = x.reshape(*ahead, *sizes)
    x = jnp.transpose(x, [*range(len(ahead)), *(len(ahead) + k for k in order)])
    return x.reshape(*ahead, math.prod(sizes)), ahead
