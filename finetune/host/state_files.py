"""What is trained of a state as one safetensors file, with its step and key."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from safetensors import SafetensorError, safe_open
from safetensors.flax import save as serialised

from finetune.adapters.method import Leaves, Tree
from finetune.training.state import TrainState
from rankwise.files import replacing

FORMAT = "rankwise state 1"


class Trained(NamedTuple):
    """A state without the moments of its optimiser; see `TrainState`."""

    theta: Tree
    aux: Tree
    head: Leaves
    step: jax.Array
    key: jax.Array


def save(path: str | os.PathLike, state: TrainState, about: Mapping[str, Any]) -> None:
    """Writes one file, whole or not at all.

    Args:
      about: what the state belongs to, JSON values.
    """
    tensors = {"step": state.step, "key": jax.random.key_data(state.key)}
    for part, tree in (("theta", state.theta), ("aux", state.aux)):
        for module, leaves in tree.items():
            tensors[f"{part}/{module}"] = jnp.zeros((), jnp.bool_)  # there, even without leaves
            tensors |= {f"{part}/{module}/{name}": leaf for name, leaf in leaves.items()}
    tensors |= {f"head/{name}": leaf for name, leaf in state.head.items()}
    about = {**about, "key": str(jax.random.key_impl(state.key))}
    content = serialised(tensors, metadata={"rankwise": json.dumps([FORMAT, about])})
    with replacing(pathlib.Path(path)) as part:
        part.write_bytes(content)


def load(path: str | os.PathLike, about: Mapping[str, Any]) -> Trained:
    """What `save` wrote.

    Raises:
      ValueError: no such file, or one that belongs to something else than `about`.
    """
    try:
        with safe_open(path, framework="flax") as file:
            form, written = json.loads((file.metadata() or {})["rankwise"])
            if form != FORMAT:
                raise ValueError(form)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} is no state that `Adapted.save` wrote ({type(error).__name__})"
        ) from None
    for name, own in json.loads(json.dumps(about)).items():
        if name in written and written[name] != own:  # an older file does not say all
            raise ValueError(f"{path} has other {name}: {_difference(written[name], own)}")
    trees: dict[str, Tree] = {"theta": {}, "aux": {}}
    head = {}
    for name, leaf in tensors.items():
        part, _, rest = name.partition("/")
        if part == "head":
            head[rest] = leaf
        elif part in trees:
            module, inner, last = rest.rpartition("/")
            own = trees[part].setdefault(module if inner else rest, {})
            if inner:
                own[last] = leaf
    key = jax.random.wrap_key_data(tensors["key"], impl=written["key"])
    return Trained(trees["theta"], trees["aux"], head, tensors["step"], key)


def _difference(there: Any, own: Any) -> str:
    if isinstance(there, dict) and isinstance(own, dict):
        name = min(n for n in {*there, *own} if there.get(n) != own.get(n))
        return f"{name} is {there.get(name)} there and {own.get(name)} here"
    return f"{there!r} there and {own!r} here"
