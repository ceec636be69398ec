"""LoRA and rsLoRA: all components at once, y = x W + s (drop(x) a) b.

Source: Hu et al. (2021), arXiv 2106.09685; Kalajdzievski (2023), arXiv 2312.03732.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from finetune.adapters import factors
from finetune.adapters.method import Method, Run
from finetune.methods import option_texts as texts
from finetune.ranks import given
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Settings of `lora`.

    Attributes:
      rank: r, of every module.
      alpha: the scale is alpha / r, or alpha / sqrt(r) with `stabilised`.
      stabilised: rsLoRA's scale, with which the size of an update does not fall with the rank.
    """

    rank: int = option(4, texts.RANK)
    alpha: float = option(16.0, texts.ALPHA)
    stabilised: bool = option(False, texts.STABILISED)

    def __post_init__(self):
        checks.integer("rank", self.rank, 1)
        checks.positive("alpha", self.alpha)

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / (self.rank**0.5 if self.stabilised else self.rank)


@dataclasses.dataclass(frozen=True)
class GivenLoraConfig(LoraConfig):
    """Settings of the method `lora`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
      ranks: file with a rank for each module in place of `rank`, which is then in the scale alone,
        so that runs of other ranks compare; see `finetune.ranks.given.read`.
    """

    ranks: str | None = option(None, texts.RANKS, path=True)

    def given(self) -> dict[str, int] | None:
        """Module path -> rank.

        Raises:
          ValueError: a file without ranks.
        """
        try:
            return None if self.ranks is None else given.read(self.ranks)
        except ValueError as error:
            raise ValueError(f"ranks: {error}") from None


@dataclasses.dataclass(frozen=True)
class RsLoraConfig(GivenLoraConfig):
    """Settings of `rslora`."""

    stabilised: bool = option(True, texts.STABILISED)


def with_ranks(config: GivenLoraConfig, run: Run) -> Method:
    """`lora`, with the ranks of a file if there is one.

    Its `prepare` raises a ValueError for names of modules that are not adapted.
    """
    ranks = config.given()
    if ranks is None:
        return lora(config, run)
    most = max(ranks.values())
    alpha = config.scale * (most**0.5 if config.stabilised else most)  # the scale is as before
    return given.at_ranks(lora(dataclasses.replace(config, rank=most, alpha=alpha), run), ranks)


def lora(config: LoraConfig, run: Run) -> Method:
    """y = x W + s (drop(x) a) b with a ~ U(-1/sqrt(in), 1/sqrt(in)) and b = 0.

    Args:
      config: the settings.
      run: its optimiser trains both factors.

    Returns:
      A Method whose theta[path] is {a (in, r), b (r, out)}, float32 (float64 for float64 kernels),
      and whose aux[path] is {gain (r,)}, every entry s.

    Source: Hu et al. (2021), section 4.1, with the initialisation of PEFT's implementation.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = lora(LoraConfig(rank=2), Run(OptimiserConfig(), 10))
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> theta["fc"]["a"].shape, theta["fc"]["b"].shape, aux["fc"]["gain"].tolist()
      ((3, 2), (2, 5), [8.0, 8.0])
    """

    def prepare(key, kernels, gradients):
        del gradients
        theta = factors.start(key, kernels, config.rank, kaiming)
        aux = {
            path: {"gain": jnp.full((config.rank,), config.scale, leaves["a"].dtype)}
            for path, leaves in theta.items()
        }
        return theta, aux

    return Method(
        name="rslora" if config.stabilised else "lora",
        prepare=prepare,
        apply=factors.apply,
        lookup=factors.lookup,
        export=factors.export,
        tx=run.tx,
    )


def rslora(config: LoraConfig, run: Run) -> Method:
    """`lora` with s = alpha / sqrt(r)."""
    return lora(dataclasses.replace(config, stabilised=True), run)


def kaiming(key: jax.Array, shape: tuple[int], dtype) -> jax.Array:
    """Kaiming-uniform with a slope of sqrt(5), which is what torch's Linear starts from."""
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)
