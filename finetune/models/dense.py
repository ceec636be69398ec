"""Networks of dense layers without biases: deep linear networks and ReLU MLPs of any depth.

h_0 = x,  h_l = dropout(act(h_{l-1} W_l)) for l < L,  logits = h_{L-1} W_L.

Source: the networks of arXiv 2503.19859, Figures 1, 2 and 9.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import RATE, SIZE, Config, entry, one_of
from finetune.models.interface import Output, pixels
from finetune.models.parts.layers import dropout, fork, wide
from finetune.models.parts.ops import PLAIN, Ops

ACTIVATIONS = {"identity": lambda x: x, "relu": jax.nn.relu}


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseConfig(Config):
    """Sizes of the network.

    Attributes:
      input_size: numbers in one example.
      hidden_size: width of all hidden layers.
      num_layers: weight matrices, L; 1 is a linear model.
      activation: "identity" makes a deep linear network.
      hidden_dropout_prob: after every hidden layer.
    """

    input_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE)
    num_layers: int = entry(SIZE, 3)
    activation: str = entry(one_of(*ACTIVATIONS), "relu")
    hidden_dropout_prob: float = entry(RATE, 0.0)

    model_type: ClassVar[str] = "dense"
    architecture: ClassVar[str] = "Dense"


class Kernel(nnx.Module):
    """y = x W with kernel W (in, out); the product goes through `Ops.linear`."""

    def __init__(self, path: str, size_in: int, size_out: int):
        self.path = path
        self.kernel = nnx.Param(jnp.zeros((size_in, size_out), jnp.float32))

    def __call__(self, x: jax.Array, ops: Ops) -> jax.Array:
        """(..., in) -> (..., out)."""
        return ops.linear(self.path, x, self.kernel[...])


class Dense(nnx.Module):
    """x W_1 ... W_L with an activation and dropout after each but the last.

    Example:
      >>> config = DenseConfig(num_labels=3, input_size=4, hidden_size=8, activation="identity")
      >>> Dense(config)({"pixels": jnp.ones((2, 4))}).logits.shape
      (2, 3)
    """

    Config: ClassVar[type] = DenseConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = ""
    optional: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: DenseConfig, dtype=jnp.float32):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        hidden = [config.hidden_size] * (config.num_layers - 1)
        sizes = [config.input_size, *hidden, config.num_labels]
        self.layers = nnx.List(
            Kernel(f"layers.{i}", *sizes[i : i + 2]) for i in range(config.num_layers)
        )

    @property
    def trainable_heads(self) -> tuple[str, ...]:
        """The last layer; its name depends on the depth."""
        return (f"layers.{self.config.num_layers - 1}",)

    def __call__(
        self,
        inputs,
        ops: Ops = PLAIN,
        key: jax.Array | None = None,
        rate: jax.Array | float | None = None,
    ) -> Output:
        """`Output` of a mapping with pixels (B, ...), flattened; dropout only where a key is given.

        Args:
          rate: of dropout in place of the configuration's; may be traced, so that one program
            serves all rates.

        Raises:
          ValueError: another number of features than input_size.
        """
        x_BD = pixels(inputs).astype(self.dtype)
        config = self.config
        if x_BD.shape[1] != config.input_size:
            raise ValueError(
                f"pixels have {x_BD.shape[1]} numbers per example; "
                f"allowed are {config.input_size} (input_size)"
            )
        rate = config.hidden_dropout_prob if rate is None else rate
        states = [x_BD]
        *hidden, last = self.layers
        for layer, part in zip(hidden, fork(key, len(hidden)), strict=True):
            h = ACTIVATIONS[config.activation](layer(states[-1], ops))
            states.append(dropout(h, rate, part))
        return Output(last(states[-1].astype(wide(self.dtype)), ops), tuple(states))
