"""Components that start along one gradient: an option that the deflation methods share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from finetune.adapters import factors
from finetune.adapters.method import Leaves, Tree
from finetune.adapters.sampling import GradientOptions
from finetune.adapters.spectra import leading, require_rank
from rankwise import checks
from rankwise.options import option

INITS = ("random", "gradient")
TINY = 1e-30


def start(key: jax.Array, kernels: Mapping[str, jax.Array], rank: int, std: float) -> Tree:
    """a ~ N(0, std^2) and b = 0."""

    def draw(key, shape, dtype):
        return std * jax.random.normal(key, shape, dtype)

    return factors.start(key, kernels, rank, draw)


def _by_name(name: str):
    """A field of `GradientOptions` again, where it is given by name alone."""
    (field,) = (one for one in dataclasses.fields(GradientOptions) if one.name == name)
    return dataclasses.field(default=field.default, metadata=field.metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StartOptions(GradientOptions):
    """How the first components are made; and `GradientOptions`.

    All are given by name: a method's own settings keep their places before them.

    Attributes:
      init: "random" has a_k ~ N(0, std^2) and b_k = 0. "gradient" has component k along the k-th
        singular vectors of -dL/dW, all from one pass before training.
      init_size: of "gradient", the largest singular value of the change it makes, s a b; LoRA-One's
        public code has .044 at rank 8. Others are smaller by the gradient's own proportions.
    """

    init: str = option(
        "random",
        "first components: random ones, or singular vectors of one gradient before training",
        INITS,
    )
    init_size: float = option(
        0.05, "largest singular value of the first change of a kernel with --init=gradient"
    )
    gradient_batches: int = _by_name("gradient_batches")
    gradient_batch_size: int = _by_name("gradient_batch_size")
    gradient_shuffled: bool = _by_name("gradient_shuffled")
    gradient_dropout: bool = _by_name("gradient_dropout")
    gradient_kernels: int | None = _by_name("gradient_kernels")

    def __post_init__(self):
        super().__post_init__()
        checks.choice("init", self.init, INITS)
        checks.positive("init_size", self.init_size)

    @property
    def of_gradient(self) -> StartOptions | None:
        """`Method.needs_gradients`: these options where the start needs a gradient, else None."""
        return self if self.init == "gradient" else None

    def first(
        self,
        key: jax.Array,
        kernels: Mapping[str, jax.Array],
        gradients: Leaves | None,
        rank: int,
        std: float,
        scale: float,
    ) -> Tree:
        """theta[path] = {a (in, rank), b (rank, out)} before the first step.

        With dL/dW = -U S V^T and init "gradient", a_k = c s_k^{1/2} u_k and b_k = c s_k^{1/2} v_k,
        so that scale sum_k a_k b_k = init_size [U S V^T]_rank / s_1.

        Raises:
          ValueError: init "gradient" and a rank above a side of a kernel.

        Source: arXiv 2502.01235, proposition 3.3, for the components of deflation.

        Example:
          >>> options = StartOptions(init="gradient", init_size=4.0)
          >>> gradient = {"fc": -jnp.diag(jnp.array([1.0, 4.0]))}
          >>> kernels = {"fc": jnp.zeros((2, 2))}
          >>> theta = options.first(jax.random.key(0), kernels, gradient, 2, 0.02, 1.0)
          >>> (theta["fc"]["a"] @ theta["fc"]["b"]).round(3).tolist()
          [[1.0, 0.0], [0.0, 4.0]]
        """
        if self.init == "random":
            return start(key, kernels, rank, std)
        require_rank(rank, kernels)
        theta = {}
        for path in sorted(kernels):
            u, s, vt = leading(-gradients[path], rank)
            size = jnp.sqrt(s / jnp.maximum(s[0], TINY) * (self.init_size / scale))
            theta[path] = {"a": u * size, "b": size[:, None] * vt}
        return theta
