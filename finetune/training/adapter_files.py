"""The trained adapter as one safetensors file, in our layout (in, r) and (r, out).

Tensors: path + ".a" and ".b" (scales folded into a), with ".magnitude" where columns have lengths
of their own, or ".delta"; "head." + name for a trained head. Modules of rank 0 have no tensors,
unless they have a magnitude. The metadata say what the adapter belongs to.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialised

from finetune.adapters import factors, magnitudes
from finetune.adapters.method import Change, Dense, Factors, Leaves, Method, Refused, Scaled, Tree
from finetune.training import step
from finetune.training.network import Network
from finetune.training.state import TrainState
from rankwise.devices import fetched
from rankwise.files import replacing

FORMAT = "rankwise adapter 1"


class Adapter(NamedTuple):
    """An adapter on disk.

    Attributes:
      modules: path -> Factors, Scaled or Dense, numpy.
      head: name -> array.
      about: method, base and whatever else was written.
    """

    modules: dict[str, Change]
    head: dict[str, np.ndarray]
    about: dict[str, Any]

    @property
    def ranks(self) -> dict[str, int]:
        """path -> rank; of a dense change the largest it could have."""
        return {
            path: min(change.delta.shape) if isinstance(change, Dense) else change.a.shape[1]
            for path, change in self.modules.items()
        }

    @property
    def parameters(self) -> int:
        """Entries of all factors and magnitudes, the head not counted."""
        return sum(leaf.size for change in self.modules.values() for leaf in change)


def exported(method: Method, state: TrainState, kernels: Leaves, about: dict[str, Any]) -> Adapter:
    """The adapter of a training state.

    Raises:
      ValueError: a module whose change has no such form, with the method's reason.
    """
    modules = {}
    for path, leaves in state.theta.items():
        change = method.export(kernels[path], leaves, state.aux[path])
        if isinstance(change, Refused):
            raise ValueError(f"module {path} cannot be exported: {change.reason}")
        modules[path] = type(change)(*map(np.asarray, change))
    head = {name: fetched(leaf) for name, leaf in state.head.items()}
    return Adapter(modules, head, {"method": method.name, **about})


def trained(adapter: Adapter, theta: Tree) -> int:
    """Numbers of the adapter that were trained, the head not counted.

    An export may hold more than theta, which is a start that is subtracted, and theta more than the
    export, which are components that got no rank: of each module it is the smaller of the two.
    """
    return sum(
        min(sum(map(np.size, change)), sum(map(np.size, theta[path].values())))
        for path, change in adapter.modules.items()
    )


def predict(
    network: Network,
    modules: Mapping[str, Change],
    head: Leaves,
    answer: Callable[..., Any] = step.logits,
):
    """The function (params, batch) -> answer of the base with an adapter, without dropout.

    Args:
      modules: path -> change, as in `Adapter`; those of rank 0 may be left out.
      head: name -> array that replaces the base's.
      answer: as for `step.predict`: logits (b, k), or a task's `answer`.

    Raises:
      ValueError: a change or a head that does not fit the network.
    """
    for path, change in modules.items():
        dense = isinstance(change, Dense)
        ends = change.delta.shape if dense else (change.a.shape[0], change.b.shape[1])
        _fits(network, f"{path}.weight", ends)
    for name, leaf in head.items():
        _fits(network, name, np.shape(leaf))
    low_rank = {path: change for path, change in modules.items() if not isinstance(change, Dense)}
    # On the device: tables are indexed by ids, which an array on the host cannot be.
    theta = jax.tree.map(jnp.asarray, {path: change._asdict() for path, change in low_rank.items()})
    head = jax.tree.map(jnp.asarray, dict(head))

    def answered(params, batch):
        aux = {path: {"gain": np.ones(c.a.shape[1], np.float32)} for path, c in low_rank.items()}
        dense = {}
        for path, change in modules.items():
            kernel = params[f"{path}.weight"]
            if isinstance(change, Scaled):
                aux[path]["square"] = magnitudes.squares(kernel)
            elif isinstance(change, Dense):
                dense[path] = kernel + change.delta
        ops = step.adapted(_Stored, theta, aux, dense)
        return answer(network, {**params, **head}, ops, batch)

    return answered


class _Stored:
    """Modules as they are stored, in the place of a method."""

    @staticmethod
    def apply(x, kernel, theta, aux, drop):
        form = magnitudes if "magnitude" in theta else factors
        return form.apply(x, kernel, theta, aux, drop)

    @staticmethod
    def lookup(ids, table, theta, aux):
        form = magnitudes if "magnitude" in theta else factors
        return form.lookup(ids, table, theta, aux)


def _fits(network: Network, name: str, shape: tuple[int, ...]) -> None:
    there = network.params[name].shape if name in network.params else None
    if there != shape:
        raise ValueError(f"the adapter has {shape} for {name}; the model has {there}")


def save(path: str | pathlib.Path, adapter: Adapter) -> None:
    """Writes one file, whole or not at all; the same adapter gives the same bytes."""
    tensors = {f"head.{name}": leaf for name, leaf in adapter.head.items()}
    for module, change in adapter.modules.items():
        if adapter.ranks[module] or isinstance(change, Scaled):
            tensors |= {f"{module}.{name}": leaf for name, leaf in change._asdict().items()}
    # safetensors writes the buffer as it lies: it must be contiguous to be read back right.
    tensors = {name: np.ascontiguousarray(leaf) for name, leaf in tensors.items()}
    about = json.dumps({**adapter.about, "ranks": adapter.ranks}, sort_keys=True)
    # One entry: safetensors does not keep the order of several.
    content = serialised(tensors, metadata={"rankwise": json.dumps([FORMAT, about])})
    with replacing(path) as part:
        part.write_bytes(content)


def load(path: str | pathlib.Path) -> Adapter:
    """The adapter in a file; modules of rank 0 are left out.

    Raises:
      ValueError: no such file, or not an adapter of this program.
    """
    try:
        with safe_open(path, framework="np") as file:
            form, about = json.loads((file.metadata() or {})["rankwise"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no adapter of this program ({type(error).__name__})") from None
    if form != FORMAT:
        raise ValueError(f"{path} has format {form!r}; allowed is {FORMAT!r}")
    head = {n.removeprefix("head."): leaf for n, leaf in tensors.items() if n.startswith("head.")}
    modules: dict[str, Change] = {}
    for name, leaf in tensors.items():
        module, _, kind = name.rpartition(".")
        if name.startswith("head."):
            continue
        if kind == "delta":
            modules[module] = Dense(leaf)
        elif kind == "a":
            b, magnitude = (tensors.get(f"{module}.{end}") for end in ("b", "magnitude"))
            modules[module] = Factors(leaf, b) if magnitude is None else Scaled(leaf, b, magnitude)
    return Adapter(modules, head, json.loads(about))
