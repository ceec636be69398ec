"""LoRA+: LoRA whose two factors have learning rates of their own.

Source: Hayou et al. (2024), arXiv 2402.12354, with the groups of the authors' released code where
they concern adapters on linear maps.
"""

from __future__ import annotations

import dataclasses

import optax

from finetune.adapters.method import Method, Run
from finetune.adapters.tables import by_role
from finetune.methods.lora import LoraConfig, lora
from finetune.optimiser import by_rate
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class LoraPlusConfig(LoraConfig):
    """Settings of `loraplus`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
      ratio: the rate of b divided by that of a; the authors advise 16 to 20 for wide networks,
        with a rate of a about half of what LoRA is tuned to.
    """

    ratio: float = option(16.0, "learning rate of the factor b divided by that of a")

    def __post_init__(self):
        super().__post_init__()
        checks.positive("ratio", self.ratio)


def loraplus(config: LoraPlusConfig, run: Run) -> Method:
    """a <- a - eta d_a,  b <- b - ratio eta d_b, with the directions d of the run's optimiser.

    Decoupled weight decay is part of a direction, so it too acts ratio times as strongly on b, as
    in the released code. That code also puts the biases of the head, but not its matrix, among the
    fast parameters; here the whole head has the run's head rate.

    Args:
      config: the settings.
      run: its learning rate is that of a.

    Returns:
      A Method; theta and aux as in `lora`.

    Source: arXiv 2402.12354, section 4 (eq. 4 has b at lambda eta).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> sgd = OptimiserConfig("sgd", learning_rate=0.5, schedule="constant", warmup=0)
      >>> method = loraplus(LoraPlusConfig(rank=1, ratio=4.0), Run(sgd, 10))
      >>> ones = {"fc": {"a": jnp.ones((1, 1)), "b": jnp.ones((1, 1))}}
      >>> updates, _ = method.tx.update(ones, method.tx.init(ones), ones, step=jnp.int32(0))
      >>> {name: float(leaf[0, 0]) for name, leaf in updates["fc"].items()}
      {'a': -0.5, 'b': -2.0}
    """
    tx = optax.chain(run.direction, by_rate(run.rate), _faster(config.ratio))
    return dataclasses.replace(lora(config, run), name="loraplus", tx=tx)


def _faster(ratio: float) -> optax.GradientTransformation:
    """Multiplies the updates of every b."""

    def update(updates, params=None):
        del params
        return by_role(lambda name, u: ratio * u if name == "b" else u, updates)

    return optax.with_extra_args_support(optax.stateless(update))
