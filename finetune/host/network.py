"""The `Network` of a model and a loss of one's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from finetune.host.discovery import Discovered, discover
from finetune.host.evaluation import evaluate
from finetune.host.model import Parts
from finetune.host.modules import Module
from finetune.training.network import Network


def takes_key(loss: Callable[..., Any]) -> bool:
    """Whether a loss has a third positional argument, which is a key.

    Example:
      >>> takes_key(lambda model, batch: 0.0), takes_key(lambda model, batch, key: 0.0)
      (False, True)
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds for p in inspect.signature(loss).parameters.values()) > 2


def examined(loss: Callable[..., Any], parts: Parts, batch: Any) -> Discovered:
    """What the loss does with the arrays of the model; traced once, with nothing computed.

    Raises:
      ValueError: the loss changes the model, or is no floating scalar.
    """
    call = _call(loss)

    def program(arrays, batch, key):
        model = parts.build(arrays)
        value = call(model, batch, key)
        if value is None or isinstance(value, tuple | list | dict):
            raise ValueError(
                f"loss returns a {type(value).__name__}; allowed is one floating number"
            )
        shape = jnp.shape(value)
        if shape or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ValueError(
                f"loss returns {jnp.result_type(value).name}{list(shape)}; "
                "allowed is one floating number"
            )
        after = parts.rest_of(model)
        return value, {name: after[name] for name in parts.state}

    arrays = {**parts.params, **parts.rest}
    discovered = discover(program, arrays, parts.state, batch, jax.random.key(0))
    if discovered.changed:
        raise ValueError(
            f"the loss changes {', '.join(discovered.changed[:3])} of the model; allowed are "
            "losses that change nothing: call model.eval() before"
        )
    return discovered


def host_network(
    loss: Callable[..., Any], parts: Parts, modules: Mapping[str, Module], heads: tuple[str, ...]
) -> Network:
    """Network whose forward pass is the loss: (arrays, batch, ops, key) -> scalar.

    Args:
      modules: array name -> Module of what is adapted.
      heads: names of the parameters that are trained beside.
    """
    call = _call(loss)
    places = {p: (module, k) for module in modules.values() for k, p in enumerate(module.paths)}

    def forward(arrays, batch, ops, key):
        def program(arrays, batch, key):
            return call(parts.build(drawn(parts, arrays, key)), batch, key)

        return evaluate(program, arrays, modules, ops, batch, key)

    def kernel(arrays, path):
        module, number = places[path]
        return module.kernel(arrays[module.array], number)

    return Network(
        forward,
        {**parts.params, **parts.rest},
        tuple(sorted(places)),
        heads,
        kernel=kernel,
        untrained=tuple(parts.rest),
    )


def drawn(parts: Parts, arrays: Mapping[str, jax.Array], key: jax.Array | None) -> Any:
    """The arrays with the model's random streams for one step; without a key as they are."""
    if key is None:
        return arrays
    number = jax.random.bits(jax.random.fold_in(key, len(parts.keys)))
    streams = {name: _folded(arrays[name], number) for name in parts.keys}
    return {**arrays, **streams}


def _folded(keys: jax.Array, number: jax.Array) -> jax.Array:
    fold = jax.vmap(jax.random.fold_in, (0, None))
    return fold(keys.reshape(-1), number).reshape(keys.shape)


def _call(loss: Callable[..., Any]) -> Callable[..., Any]:
    """(model, batch, key or None) -> loss."""
    if not takes_key(loss):
        return lambda model, batch, key: loss(model, batch)
    return lambda model, batch, key: loss(model, batch, jax.random.key(0) if key is None else key)
