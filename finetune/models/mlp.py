"""The three-layer ReLU network of the sequential rank-one paper, in-512-512-classes.

Source: "One Rank at a Time: Cascading Error Dynamics in Sequential Learning", experiments.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from finetune.models.config import SIZE, Config, entry
from finetune.models.interface import Output, pixels
from finetune.models.parts.layers import Linear, wide
from finetune.models.parts.ops import PLAIN, Ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class MLPConfig(Config):
    """Sizes of the network.

    Attributes:
      input_size: numbers in one example: 784 for MNIST, 3072 for CIFAR, 64 for digits.
      hidden_size: width of both hidden layers.
    """

    input_size: int = entry(SIZE)
    hidden_size: int = entry(SIZE, 512)

    model_type: ClassVar[str] = "mlp"
    architecture: ClassVar[str] = "MLP"


class MLP(nnx.Module):
    """fc3(relu(fc2(relu(fc1(x)))))."""

    Config: ClassVar[type] = MLPConfig
    kind: ClassVar[str] = "encoder"
    base: ClassVar[str] = ""
    trainable_heads: ClassVar[tuple[str, ...]] = ("fc3",)
    optional: ClassVar[tuple[str, ...]] = ("fc3",)
    ignored: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: MLPConfig, dtype=jnp.float32):
        self.config = config
        self.dtype = jnp.dtype(dtype)
        self.fc1 = Linear("fc1", config.input_size, config.hidden_size)
        self.fc2 = Linear("fc2", config.hidden_size, config.hidden_size)
        self.fc3 = Linear("fc3", config.hidden_size, config.num_labels)

    def __call__(self, inputs, ops: Ops = PLAIN, key: jax.Array | None = None) -> Output:
        """`Output` of a mapping with pixels (B, ...), flattened; the key is not read (no dropout).

        hidden_states are x and the two hidden layers, (B, features) each.

        Raises:
          ValueError: another number of features than input_size.
        """
        del key
        x_BD = pixels(inputs).astype(self.dtype)
        if x_BD.shape[1] != self.config.input_size:
            raise ValueError(
                f"pixels have {x_BD.shape[1]} numbers per example; "
                f"allowed are {self.config.input_size} (input_size)"
            )
        first = jax.nn.relu(self.fc1(x_BD, ops))
        second = jax.nn.relu(self.fc2(first, ops))
        # The head in float32, as everywhere.
        logits = self.fc3(second.astype(wide(second.dtype)), ops)
        return Output(logits, (x_BD, first, second))
