"""A network as training sees it: a pure function of named parameters."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from finetune.models import head_modules, linears
from finetune.models.initialise import parameter
from finetune.models.parts.depth import runs as runs_of
from finetune.models.parts.layered import Layered, Runs, cut, layered
from finetune.models.parts.ops import Ops
from finetune.models.parts.token_parts import by_parts
from finetune.weights.naming import named_leaves
from rankwise.devices import fetched

HEADS = ("train", "new", "freeze", "frozen_random")
TRAINED_HEADS = ("train", "new")
DRAWN_HEADS = ("new", "frozen_random")
"""Heads of which nothing is read from the checkpoint."""
Params = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """forward(params, inputs, ops, key) -> logits (b, k), and what its parameters are.

    Attributes:
      forward: pure; a key switches dropout on, None is evaluation.
      params: torch name -> array; kernels (in, out) are named path + ".weight".
      linears: paths of the linear maps that go through `ops`.
      heads: paths of the modules that a new task trains beside its adapters.
      drawn: names of the parameters that were drawn at random and not read.
      kind: "encoder", "causal" or "encoder_decoder".
      begin: of a language model, (params, inputs, ops, length) -> (cache, logits (b, V)): reads the
        prompt and makes room for `length` tokens; pure, `length` is static.
      advance: likewise (params, cache, tokens (b,), ops) -> (cache, logits (b, V)).
      states: of a language model, (params, inputs, ops, key) -> what its logits are made of,
        (b, T, D), as `forward`.
      vocabulary: likewise (params, states, ops) -> logits (b, T, V).
      kernel: (params, path) -> kernel (in, out), for parameters with other names or axes.
      untrained: names of arrays that are no parameters, such as counters and statistics.
      runs: paths of layers, of those together whose parameters lie in one array.
    """

    forward: Callable[[Params, Mapping[str, Any], Ops, jax.Array | None], jax.Array]
    params: Params
    linears: tuple[str, ...]
    heads: tuple[str, ...]
    drawn: tuple[str, ...] = ()
    kind: str = "encoder"
    begin: Callable[[Params, Mapping[str, Any], Ops, int], tuple[Any, jax.Array]] | None = None
    advance: Callable[[Params, Any, jax.Array, Ops], tuple[Any, jax.Array]] | None = None
    states: Callable[[Params, Mapping[str, Any], Ops, jax.Array | None], jax.Array] | None = None
    vocabulary: Callable[[Params, jax.Array, Ops], jax.Array] | None = None
    kernel: Callable[[Params, str], jax.Array] = lambda params, path: params[f"{path}.weight"]
    untrained: tuple[str, ...] = ()
    runs: Runs = ()

    def by_tokens(
        self,
        function: Callable[[jax.Array, dict[str, jax.Array]], Any],
        params: Params,
        inputs: Mapping[str, Any],
        labels: Mapping[str, jax.Array],
        ops: Ops,
        key: jax.Array | None = None,
    ) -> Any:
        """function(logits (b, t, V), labels (b, t)) for parts of the tokens, see `by_parts`.

        A network that does not tell states from logits gives them in one part.
        """
        if self.states is None:
            logits = self.forward(params, inputs, ops, key)
            return jax.tree.map(lambda leaf: leaf[None], function(logits, dict(labels)))
        states = self.states(params, inputs, ops, key)
        return by_parts(lambda x: self.vocabulary(params, x, ops), function, states, labels)

    def kernels(self, paths: tuple[str, ...], params: Params | None = None) -> Params:
        """path -> kernel (in, out)."""
        params = self.params if params is None else params
        return {path: self.kernel(params, path) for path in paths}

    def head(self) -> Params:
        """The parameters of the heads by name."""
        return {name: leaf for name, leaf in self.params.items() if self._in_head(name)}

    def trained(self, head: bool, beside: str = "head") -> Params:
        """The parameters that are trained beside the adapters, by name.

        Args:
          head: whether the run trains the head, where the method leaves it the choice.
          beside: `Method.beside`.
        """
        if beside == "nothing":
            return {}
        rest = beside == "all"
        own = {n: leaf for n, leaf in self.params.items() if n not in self.untrained}
        return {n: leaf for n, leaf in own.items() if (head if self._in_head(n) else rest)}

    def adapted(self, pattern: str | None = None) -> tuple[str, ...]:
        """Sorted paths of the linear maps that get an adapter.

        Args:
          pattern: a regular expression that is found in the path. None takes all but the heads,
            poolers and a language model's map to the vocabulary, that is, attention and
            feed-forward maps.

        Raises:
          ValueError: not a regular expression, or one that is found nowhere.
        """
        if pattern is None:
            chosen = [p for p in self.linears if not self._in_head(p) and not _apart(p)]
        else:
            try:
                chosen = [path for path in self.linears if re.search(pattern, path)]
            except re.error as error:
                raise ValueError(
                    f"modules is {pattern!r}, no regular expression: {error}"
                ) from None
        if not chosen:
            raise ValueError(
                f"modules is {pattern!r}, which no linear map matches; "
                f"the first of them is {self.linears[0]!r}"
            )
        return tuple(sorted(chosen))

    def _in_head(self, name: str) -> bool:
        return any(name == path or name.startswith(path + ".") for path in self.heads)


def _apart(path: str) -> bool:
    # ModernBERT's pooler comes with the head of its masked language model.
    return "pooler" in path or path in ("lm_head", "head.dense")


def from_module(
    model: nnx.Module,
    head: str = "train",
    key: jax.Array | None = None,
    remat: bool = False,
    scan: int = 0,
) -> Network:
    """The network of a model of `finetune.models`.

    Args:
      head: "new" and "frozen_random" draw the head's parameters anew from `key`; else they are as
        they are.
      key: only needed for that.
      scan: the layers that are alike are one traced layer in a loop, where at least so many follow
        each other; 0 traces each. Their parameters lie together then, see `Layered`. Of networks
        that cannot, and in `begin` and `advance`, each is traced.
      remat: gradient checkpointing. The backward pass computes the inner values of each layer
        again, instead of keeping them; the gradients are the same.

    Raises:
      ValueError: an unknown `head`, or `remat` for a network without transformer layers.
    """
    if head not in HEADS:
        raise ValueError(f"head is {head!r}; allowed are {', '.join(HEADS)}")
    if remat and not hasattr(model, "remat"):
        name = type(model).__name__
        raise ValueError(f"remat is True; {name} has no transformer layers to compute again")
    graphdef, tree = nnx.split(model)
    runs = runs_of(model, scan)
    if remat or runs:
        changed = nnx.merge(graphdef, tree)
        changed.remat = remat
        if runs:
            changed.scan = scan
        graphdef, tree = nnx.split(changed)
    structure = jax.tree.structure(tree)
    leaves = {name: leaf.value for name, leaf in named_leaves(model).items()}
    names = tuple(leaves)
    # Without a copy of what `models.load` has put together.
    params: Params = layered(leaves, runs) if runs else jax.tree.map(cut, leaves)

    def module(params, scanned=False):
        # What is scanned takes the arrays of all its layers: none of them is cut out.
        together = scanned and isinstance(params, Layered)
        leaves = [params.entry(name) if together else params[name] for name in names]
        return nnx.merge(graphdef, jax.tree.unflatten(structure, leaves))

    def forward(params, inputs, ops, key):
        return module(params, bool(runs))(inputs, ops, key).logits

    def begin(params, inputs, ops, length):
        return module(params).begin(inputs, ops, length)

    def advance(params, cache, tokens, ops):
        return module(params).advance(cache, tokens, ops)

    def states(params, inputs, ops, key):
        return module(params, bool(runs))(inputs, ops, key).hidden_states[-1]

    def vocabulary(params, states, ops):
        return module(params).logits(states, ops)

    generates = model.kind != "encoder" and model.config.num_labels == 0
    network = Network(
        forward,
        params,
        tuple(linears(model)),
        head_modules(model),
        getattr(model, "fresh", ()),
        runs=runs,
        kind=model.kind,
        begin=begin if generates else None,
        advance=advance if generates else None,
        states=states if generates else None,
        vocabulary=vocabulary if generates else None,
    )
    if head not in DRAWN_HEADS:
        return network
    fresh = {n: parameter(model.config, key, n, leaf.shape) for n, leaf in network.head().items()}
    drawn = tuple(sorted({*network.drawn, *fresh}))
    return dataclasses.replace(network, params=params | fresh, drawn=drawn)


def digest(params: Params) -> str:
    """A fingerprint of names, shapes, dtypes and values: 16 hexadecimal digits of SHA-256."""
    sha = hashlib.sha256()
    for name in sorted(params):
        leaf = fetched(params[name])
        sha.update(f"{name} {leaf.shape} {leaf.dtype};".encode())
        sha.update(np.ascontiguousarray(leaf).data.cast("B") if leaf.size else b"")
    return sha.hexdigest()[:16]
