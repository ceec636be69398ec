"""What a method on a model of one's own offers: training, evaluation, merging, files."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from finetune.adapters.method import Leaves, Method
from finetune.host import merging, peft_folder, state_files
from finetune.host.evaluation import evaluate
from finetune.host.model import Arrays, Parts
from finetune.host.modules import Module
from finetune.methods import MethodConfig
from finetune.training import adapter_files, gradient_pass, state
from finetune.training.adapted_ops import adapted
from finetune.training.adapter_files import Adapter
from finetune.training.network import Network, digest
from finetune.training.state import TrainState


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Adapted:
    """A method on a model; made by `adapt`.

    Attributes:
      modules: array name -> Module of what is adapted.
      base: arrays of the model by name, an argument of `update`.
      method, config: the method and its settings.
    """

    modules: Mapping[str, Module]
    base: Arrays
    method: Method
    config: MethodConfig
    _network: Network
    _parts: Parts
    _head_tx: optax.GradientTransformation
    _update: Callable[..., tuple[TrainState, Leaves]]
    _gradient_batches: int | None
    _compiled: Callable[..., Any] = dataclasses.field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "_compiled", jax.jit(self._update, donate_argnums=0))

    def __repr__(self) -> str:
        head = ("array", "shape", "in", "out", "stacked", "kind")
        rows = [(m.array, m.shape, m.ins, m.outs, m.stack, m.kind) for m in self.modules.values()]
        cells = [head, *(tuple(map(str, row)) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        return "\n".join([f"{self.method.name} on {len(rows)} arrays", *lines])

    def init(self, key: jax.Array, batches: Iterable[Any] = ()) -> TrainState:
        """The state before the first step.

        Args:
          key: of the run.
          batches: whose mean gradient loraga, loraone, onestep and deeplora start from, weighed by
            rows. All of them; or as many of the first as `adapt` was told by gradient_batches, so
            that a loader without an end will do.

        Raises:
          ValueError: no batches for such a method, or fewer than gradient_batches; a gradient that
            is zero or not finite; what the method refuses of the kernels.
        """
        network, method, options = self._network, self.method, self.method.needs_gradients
        paths = network.linears if method.beside == "head" else ()
        kernels, head = network.kernels(paths), network.trained(True, method.beside)
        if options is None:
            return state.start(method, kernels, head, self._head_tx, key)
        count = self._gradient_batches
        shared = _shares(itertools.islice(batches, count))
        if count is not None and len(shared) < count:
            raise ValueError(
                f"gradient_batches is {count}, and batches has {len(shared)}; allowed are at most "
                "as many as init(key, batches=...) is given"
            )
        if not shared:
            raise ValueError(
                f"batches is empty; method {method.name!r} starts from a gradient: "
                "init(key, batches=[batch, ...])"
            )
        dense = gradient_pass.mean_gradients(network, None, paths, lambda: shared, options, key)
        first = state.start(method, kernels, head, self._head_tx, key, dense)
        if method.settle is None:
            return first
        mean = gradient_pass.mean_loss(method, network, None, lambda: shared)
        theta, aux = method.settle(mean, first.theta, first.aux)
        return jax.tree.map(jnp.copy, first._replace(theta=theta, aux=aux))

    def step(self, state: TrainState, batch: Any) -> tuple[TrainState, Leaves]:
        """(next state, metrics); compiled, and `state` is used up."""
        return self._compiled(state, self.base, batch)

    def update(self, state: TrainState, base: Arrays, batch: Any) -> tuple[TrainState, Leaves]:
        """`step` as a pure function, for a jit, scan or shard_map of your own.

        `base` is an argument, as what a compiled function closes over is a constant of it.
        """
        return self._update(state, base, batch)

    def bind(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """(state, *args) -> function(adapted model, *args), compiled: evaluation, generation.

        Args:
          function: pure, of the model and pytrees of arrays.
        """

        def call(trained, base, *args):
            theta, aux, head = trained
            ops = adapted(self.method, theta, aux)

            def program(arrays, *args):
                return function(self._parts.build(arrays), *args)

            return evaluate(program, {**base, **head}, self.modules, ops, *args)

        compiled = jax.jit(call)

        def bound(state: TrainState, *args: Any) -> Any:
            return compiled((state.theta, state.aux, state.head), self.base, *args)

        return bound

    def ranks(self, state: TrainState) -> dict[str, int]:
        """Path of a kernel -> rank now."""
        by_path = jax.device_get(self.method.ranks(state.theta, state.aux))
        return {path: int(rank) for path, rank in sorted(by_path.items())}

    def parameters(self, state: TrainState) -> int:
        """Numbers that were trained: of the adapters as they are, and of what is trained whole."""
        beside = sum(leaf.size for leaf in state.head.values())
        return beside + adapter_files.trained(self.export(state), state.theta)

    def export(self, state: TrainState) -> Adapter:
        """The change of every kernel as Factors, Scaled or Dense, by path, and what is whole.

        `finetune.save_adapter` writes it to a file that is read without this model.

        Raises:
          ValueError: a change without such a form.
        """
        kernels = self._network.kernels(tuple(state.theta))
        return adapter_files.exported(self.method, state, kernels, {})

    def merge(self, state: TrainState, dtype: Any = None) -> Any:
        """A model of the type that was given, with the changed kernels.

        Args:
          dtype: of changed kernels; None leaves that of the model.

        Raises:
          ValueError: the kernels' own dtype would lose more than a hundredth of the change.
        """
        adapter = self.export(state)
        changed = merging.changed(self.base, self.modules, adapter.modules, dtype)
        return self._parts.build({**self.base, **state.head, **changed})

    def save(self, path: str | os.PathLike, state: TrainState) -> None:
        """Writes what is trained as one safetensors file, whole or not at all.

        Moments of the optimiser are left out; a training that shall go on as if it had never been
        interrupted keeps `state`, a NamedTuple of arrays, by orbax or the like.
        """
        state_files.save(path, state, self._about())

    def load(self, path: str | os.PathLike, state: TrainState | None = None) -> TrainState:
        """The state that `save` wrote, equal to the bit.

        Args:
          state: whose moments of the optimiser are taken; None begins them anew.

        Raises:
          ValueError: no such file, or one of another method, other settings or another model.
        """
        theta, aux, head, step, key = state_files.load(path, self._about())
        opt = self.method.tx.init(theta) if state is None else state.opt
        head_opt = self._head_tx.init(head) if state is None else state.head_opt
        return TrainState(theta, aux, head, opt, head_opt, step, key)

    def export_peft(
        self,
        folder: str | os.PathLike,
        state: TrainState,
        *,
        base: str,
        names: Mapping[str, str] | None = None,
    ) -> None:
        """Writes a new folder that `peft.PeftModel.from_pretrained` loads.

        Args:
          base: the base model on the Hub, or its folder.
          names: path of a kernel -> torch's name of the module.

        Raises:
          ValueError: the folder exists; a kernel without a name; a change of no low rank;
            parameters that are trained whole.
        """
        peft_folder.write(pathlib.Path(folder), self.export(state), self.modules, base, names)

    def _about(self) -> dict[str, Any]:
        kernels = {
            path: [module.array, *map(list, (module.shape, module.ins, module.outs))]
            for module in self.modules.values()
            for path in module.paths
        }
        settings = dataclasses.asdict(self.config.settings)
        about = {"method": self.method.name, "settings": settings, "kernels": kernels}
        return {**about, "base weights": digest({name: self.base[name] for name in self.modules})}


def _shares(batches: Iterable[Any]) -> list[tuple[Any, float]]:
    """Batches and each one's share of the rows."""
    batches = list(batches)
    rows = [jax.tree.leaves(batch)[0].shape[0] for batch in batches]
    return [(batch, n / sum(rows)) for batch, n in zip(batches, rows, strict=True)]
