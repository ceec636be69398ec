"""Which arrays of a model its loss multiplies by, and along which axes."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from finetune.host.modules import PRODUCT, ROWS, Module
from finetune.host.views import View, view
from finetune.host.walk import Walk

OWN = ("kernel", "weight", "embedding")
"""Last parts of names that say no more than that a module has one array to be adapted."""
CLOSED = (
    "cond", "custom_jvp_call", "custom_vjp_call", "pallas_call", "shard_map", "while",
)  # fmt: skip
"""Primitives that may hold products, but are not looked into."""


class Use(NamedTuple):
    """What a program does with an array.

    Attributes:
      kind: PRODUCT, ROWS, or the name of a primitive.
      ins, outs, stack: axes, in order of use.
      scopes: of the axes of `stack` that scans took, the shared part of the name.
    """

    kind: str
    ins: tuple[int, ...] = ()
    outs: tuple[int, ...] = ()
    stack: tuple[int, ...] = ()
    scopes: tuple[str, ...] = ()

    def fits(self, module: Module) -> bool:
        """Whether a method computes it; else it gets the changed kernel."""
        own = (self.kind, tuple(sorted(self.ins)), tuple(sorted(self.outs)), self.stack)
        return own == (module.kind, module.ins, module.outs, module.stack)


class Discovered(NamedTuple):
    """What a trace says of a model.

    Attributes:
      modules: array name -> Module, of every array that enters a product or a look-up.
      uses: array name -> all its uses.
      changed: names of arrays that the function does not return as they came.
    """

    modules: dict[str, Module]
    uses: dict[str, list[Use]]
    changed: tuple[str, ...]


class _Recorder(Walk):
    def __init__(self):
        self.uses = defaultdict(list)

    def product(self, view, other, equation, kernel_first):
        (left, right), (batch_left, batch_right) = equation.params["dimension_numbers"]
        summed, batch = (left, batch_left) if kernel_first else (right, batch_right)
        free = [k for k in range(len(view.axes)) if k not in summed and k not in batch]
        ins, outs, stack = (view.flat(group) for group in (summed, free, batch))
        use = Use(PRODUCT, ins, outs, (*view.taken, *stack), view.scopes)
        self.uses[view.name].append(use)
        pair = (view.array(), other) if kernel_first else (other, view.array())
        return jax.lax.dot_general(*pair, **equation.params)

    def rows(self, view, places, equation):
        use = Use(ROWS, view.axes[0], view.axes[1], view.taken, view.scopes)
        self.uses[view.name].append(use)
        return jax.lax.gather(view.array(), places, **equation.params)

    def value(self, view, primitive):
        self.uses[view.name].append(Use(primitive, stack=view.taken, scopes=view.scopes))
        return view.array()

    def sliced(self, view):
        return ()


def discover(
    function: Callable[..., tuple[Any, Mapping[str, jax.Array]]],
    arrays: Mapping[str, jax.Array],
    state: Collection[str],
    *arguments: Any,
) -> Discovered:
    """Traces a function once; nothing is computed.

    Args:
      function: (arrays by name, *arguments) -> (anything, the arrays of `state` afterwards).
      arrays: of the model, or their shapes.
      state: names of arrays that the function must hand back as they are.
      arguments: pytrees of arrays, or of their shapes.

    Example:
      >>> kernel, x = jnp.ones((3, 5)), jnp.ones((2, 3))
      >>> result = discover(lambda m, x: (x @ m["fc.kernel"], {}), {"fc.kernel": kernel}, (), x)
      >>> module = result.modules["fc.kernel"]
      >>> module.ins, module.outs, module.paths
      ((0,), (1,), ('fc',))
    """
    recorder, changed = _Recorder(), []

    def program(arrays, *arguments):
        closed = jax.make_jaxpr(function)(arrays, *arguments)
        views = [
            leaf if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else view(name, leaf)
            for name, leaf in sorted(arrays.items())
        ]
        outputs = recorder.run(closed, [*views, *jax.tree.leaves(arguments)])
        after = outputs[len(outputs) - len(state) :]
        same = zip(sorted(state), after, strict=True)
        changed.extend(
            name for name, leaf in same if not (isinstance(leaf, View) and leaf.name == name)
        )
        return ()

    jax.eval_shape(program, dict(arrays), *arguments)
    reads = {}
    for name, uses in recorder.uses.items():
        leaf = arrays[name]
        if jnp.issubdtype(leaf.dtype, jnp.floating) and (use := _defining(uses, leaf)):
            reads[name] = (use, leaf)
    return Discovered(_named(reads), dict(recorder.uses), tuple(changed))


def _defining(uses: list[Use], leaf) -> Use | None:
    """The use that says which axes are which: the first look-up, the first product, or none."""
    for kind in (ROWS, PRODUCT):
        for use in uses:
            if use.kind == kind and use.ins and use.outs:
                return use
    if len(leaf.shape) == 2 and any(use.kind in CLOSED for use in uses):
        return Use(PRODUCT, (0,), (1,))  # as flax has it
    return None


def _named(uses: Mapping[str, tuple[Use, Any]]) -> dict[str, Module]:
    short = {name: name for name in uses}
    for name in uses:
        head, _, last = name.rpartition(".")
        if head and last in OWN:
            short[name] = head
    often = Counter(short.values())
    modules = {}
    for name, (use, leaf) in sorted(uses.items()):
        own = short[name] if often[short[name]] == 1 else name
        ends = {"ins": tuple(sorted(use.ins)), "outs": tuple(sorted(use.outs))}
        module = Module(
            name,
            leaf.shape,
            jnp.dtype(leaf.dtype),
            **ends,
            stack=use.stack,
            kind=use.kind,
            paths=(),
        )
        paths = tuple(_path(own, use, place) for place in np.ndindex(*module.sizes(use.stack)))
        modules[name] = dataclasses.replace(module, paths=paths)
    return modules


def _path(name: str, use: Use, place: tuple[int, ...]) -> str:
    """The name with the numbers of a stacked kernel where a list of modules would have them."""
    parts = name.split(".")
    depths = [len(scope.split(".")) if scope else 0 for scope in use.scopes]
    depths += [len(parts)] * (len(place) - len(depths))
    # From the end, so that a number leaves the places of those before it.
    for depth, number in sorted(zip(depths, place, strict=True), key=lambda one: one[0])[::-1]:
        parts.insert(depth, str(number))
    return ".".join(parts)
