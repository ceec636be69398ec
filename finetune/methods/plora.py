"""P-LoRA: LoRA in the Riemannian metric of low-rank matrices, as a preconditioner of Adam.

Source: Zhang and Pilanci (2024), arXiv 2402.02347, and the optimiser that the authors released.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from finetune.adapters.method import Leaves, Method, Run, Tree
from finetune.adapters.tables import column, each
from finetune.methods import option_texts as texts
from finetune.methods.lora import LoraConfig, lora
from finetune.models.parts.ops import matmul
from finetune.optimisers.moments import adam
from finetune.optimisers.pairwise import by_shape, owned
from finetune.optimisers.small_matrices import damped_inverse
from rankwise import checks
from rankwise.options import option

SWEEPS = ("gauss_seidel", "jacobi")


@dataclasses.dataclass(frozen=True)
class PloraConfig(LoraConfig):
    """Settings of `plora`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
      damping: lambda. The released GPT-2 scripts have 1e-6, those for GLUE 1e-6 to 100 by task.
      sweep: "gauss_seidel" preconditions b by the a of after the step, as the released code does,
        and is the default to be comparable with it; "jacobi" by that of before, as the paper says.
      bias_correction: of Adam's moments; off as in the released class, where the first steps are
        therefore about three times as long.
      epsilon: of Adam; the released class has 1e-6.
    """

    damping: float = option(
        1e-6, "small number added to the diagonal of the matrices that are inverted"
    )
    sweep: str = option("gauss_seidel", "whether b's step sees a's of the same step", SWEEPS)
    bias_correction: bool = option(False, "correct the bias of Adam's moments in the first steps")
    epsilon: float = option(1e-6, texts.EPSILON)

    def __post_init__(self):
        super().__post_init__()
        checks.positive("damping", self.damping)
        checks.positive("epsilon", self.epsilon)
        checks.choice("sweep", self.sweep, SWEEPS)


def plora(config: PloraConfig, run: Run) -> Method:
    """a <- a - eta Adam(g_a (b b^T + lambda I)^-1),  b <- b - eta Adam((a^T a + lambda I)^-1 g_b).

    The moments are those of the preconditioned gradients; decoupled weight decay follows each step.
    With b = 0 the first step leaves a where it is. A run with `sgd` has neither moments nor decay.

    Args:
      config: the settings.
      run: rate, Adam's betas and weight decay. Its clip acts on the gradients themselves.

    Returns:
      A Method; theta and aux as in `lora`.

    Source: arXiv 2402.02347, eqs. 3 and 4 and Algorithm 1.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> sgd = OptimiserConfig("sgd", learning_rate=1.0, schedule="constant", warmup=0)
      >>> tx = plora(PloraConfig(rank=1, damping=1.0, sweep="jacobi"), Run(sgd, 10)).tx
      >>> ones = {"fc": {"a": jnp.ones((1, 1)), "b": jnp.ones((1, 1))}}
      >>> updates, _ = tx.update(ones, tx.init(ones), ones, step=jnp.int32(0))
      >>> float(updates["fc"]["a"][0, 0])
      -0.5
    """
    optimiser, with_moments = run.optimiser, run.optimiser.name == "adamw"
    betas, decay = (optimiser.beta1, optimiser.beta2), optimiser.weight_decay * with_moments
    settings = {"betas": betas, "epsilon": config.epsilon, "corrected": config.bias_correction}

    def start(theta: Tree):
        number = 2 if with_moments else 0
        return jax.tree.map(lambda leaf: (jnp.zeros_like(leaf),) * number, theta)

    def move(gradients: Tree, state, theta: Tree, step):
        rate = run.rate(step)
        moved, moments = theta, state
        for name in ("a", "b"):

            def one(inverse, gradient, leaves, moments, parameters, name=name):
                gradient, size = gradient[name], rate.astype(inverse.dtype)
                pair = (gradient, inverse) if name == "a" else (inverse, gradient)
                direction, now = matmul(*pair), moments[name]
                if with_moments:
                    direction, now = adam(direction, now, step, **settings)
                new = parameters[name] - size * direction
                new = new - size * decay * new
                return {"theta": {**leaves, name: new}, "state": {**moments, name: now}}

            factors = moved if config.sweep == "gauss_seidel" else theta
            grams = each(functools.partial(_gram, name), factors)
            inverses = by_shape(lambda gram: damped_inverse(gram, config.damping), grams)
            both = each(one, inverses, gradients, moved, moments, theta)
            moved, moments = column(both, "theta"), column(both, "state")
        return moved, moments

    return dataclasses.replace(lora(config, run), name="plora", tx=owned(start, move))


def _gram(name: str, leaves: Leaves) -> jax.Array:
    """The matrix (r, r) that preconditions the gradient of the factor `name`."""
    a, b = leaves["a"], leaves["b"]
    return matmul(b, b.T) if name == "a" else matmul(a.T, a)
