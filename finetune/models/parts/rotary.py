"""Rotary positions: the halves of a head's features are turned by an angle that grows with place.

(x_k, x_{k + K/2}) is turned by p f_k at position p, with f_k = theta^(-2k / K), so that an inner
product of query and key depends on the difference of their positions alone.

Source: Su et al. (2021), RoFormer; "linear" divides all f_k by a factor, "llama3" only those of
long waves (Llama 3.1; transformers.modeling_rope_utils).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from finetune.models.parts.layers import wide

# What each type needs beside theta.
TYPES = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rope:
    """The frequencies of a model, under the names of config.json's rope_parameters.

    Attributes:
      rope_type: "default", "linear" or "llama3".
      rope_theta: the base.
      factor, low_freq_factor, high_freq_factor, original_max_position_embeddings: of the two
        scaled types.

    Raises:
      ValueError: another type, or entries that it lacks or does not have.
    """

    rope_type: str = "default"
    rope_theta: float = 10000.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None

    def __post_init__(self):
        if self.rope_type not in TYPES:
            shown = ", ".join(map(repr, TYPES))
            raise ValueError(f"rope_type is {self.rope_type!r}; allowed are {shown}")
        for name, value in self.given().items():
            if name == "rope_type":
                continue
            if name not in ("rope_theta", *TYPES[self.rope_type]):
                raise ValueError(f"{name} is {value!r}, which rope_type {self.rope_type!r} lacks")
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} is {value!r}; allowed: numbers > 0")
        lacking = [name for name in TYPES[self.rope_type] if getattr(self, name) is None]
        if lacking:
            raise ValueError(f"{lacking[0]} is missing; rope_type {self.rope_type!r} needs it")
        if self.rope_type == "llama3" and self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor is {self.low_freq_factor}; "
                f"allowed: numbers < high_freq_factor {self.high_freq_factor}"
            )

    def given(self) -> dict[str, Any]:
        """The entries that are not None."""
        return {name: v for name, v in dataclasses.asdict(self).items() if v is not None}


def read(raw: dict[str, Any]) -> Rope:
    """From config.json: rope_parameters (transformers 5), or rope_theta and rope_scaling.

    Raises:
      ValueError: what `Rope` refuses, an entry that is not known, or forms that contradict.

    Example:
      >>> read({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}).factor
      2.0
    """
    entries: dict[str, Any] = {}
    bare = {"rope_theta": raw["rope_theta"]} if raw.get("rope_theta") is not None else {}
    for part in (raw.get("rope_parameters") or {}, raw.get("rope_scaling") or {}, bare):
        if not isinstance(part, dict):
            raise ValueError(f"rope_parameters is {part!r}; allowed is an object")
        for name, value in part.items():
            # The first files with a scaling called it "type".
            name = "rope_type" if name == "type" else name
            there = entries.setdefault(name, value)
            if there != value:
                raise ValueError(f"{name} is {there!r} and {value!r}; allowed is one of them")
    unknown = sorted(set(entries) - {field.name for field in dataclasses.fields(Rope)})
    if unknown:
        raise ValueError("not known here in rope_parameters: " + ", ".join(unknown))
    return Rope(**entries)


def frequencies(rope: Rope, size: int) -> np.ndarray:
    """f_k for k = 0, ..., size/2 - 1, float64; a constant of the program.

    Example:
      >>> frequencies(Rope(rope_theta=100.0), 4).tolist()
      [1.0, 0.1]
    """
    rates = float(rope.rope_theta) ** -(np.arange(0, size, 2) / size)
    if rope.rope_type == "default":
        return rates
    if rope.rope_type == "linear":
        return rates / rope.factor
    # Waves shorter than the old length / high are kept, longer than old / low are stretched.
    turns = rope.original_max_position_embeddings * rates / (2 * math.pi)
    low, high = rope.low_freq_factor, rope.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return kept * rates + (1 - kept) * rates / rope.factor


def rotate(x_BLHK: jax.Array, positions: jax.Array, rope: Rope) -> jax.Array:
    """Each head turned by its position, computed at least in float32 and of the dtype of x.

    Args:
      x_BLHK: queries or keys.
      positions: (L,) or (B, L) integers.
    """
    dtype = wide(x_BLHK.dtype)
    turn = jnp.asarray(frequencies(rope, x_BLHK.shape[-1]), dtype)
    angle = positions.astype(dtype)[..., None, None] * turn
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x_BLHK.astype(dtype), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return jnp.concatenate(turned, axis=-1).astype(x_BLHK.dtype)
