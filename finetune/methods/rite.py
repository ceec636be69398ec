"""LoRA-RITE: an adaptive step that depends on the change a b, not on its factors.

The factors a M and M^-1 b make the same network, and here also the same trajectory of it.

Source: Yen et al. (2024), arXiv 2410.20625, and the optimiser that the authors released.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from finetune.adapters.method import Method, Run, Tree
from finetune.methods import option_texts as texts
from finetune.methods.lora import LoraConfig, lora
from finetune.models.parts.ops import matmul
from finetune.optimiser import clipped
from finetune.optimisers.moments import growing
from finetune.optimisers.pairwise import by_shape, other, owned, sides_of
from finetune.optimisers.small_matrices import inverse_root, pseudo_inverse
from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class RiteConfig(LoraConfig):
    """Settings of `rite`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
      skip_above: root mean square above which an unmagnified gradient counts as 0; 0 for never.
      unmagnified_clip: largest norm of all unmagnified gradients together; 0 for none.
      epsilon: added to the roots of the second moment's eigenvalues.
    """

    skip_above: float = option(
        1.0, "root mean square above which an unmagnified gradient is left out; 0 for never"
    )
    unmagnified_clip: float = option(
        1.0, "largest norm of all unmagnified gradients together; 0 for none"
    )
    epsilon: float = option(1e-6, texts.EPSILON)

    def __post_init__(self):
        super().__post_init__()
        checks.positive("skip_above", self.skip_above, zero=True)
        checks.positive("unmagnified_clip", self.unmagnified_clip, zero=True)
        checks.positive("epsilon", self.epsilon)


def rite(config: RiteConfig, run: Run) -> Method:
    """p <- p - eta (m R_q^+T + wd p) for each of the two factors p (n, r), with q the other one.

    Here p is a or b^T, p = U_p R_p (QR), and beta_k = beta (1 - beta^(k-1)) / (1 - beta^k) in step
    k = 1, 2, ...:

        u = g_p R_q^+,  left out where it is large, and clipped
        T = U_q^T U_q',  U_q' that of the step before: m and v are coordinates in the basis U_q
        v <- beta2_k T v T^T + (1 - beta2_k) u^T u / n
        m <- beta1_k m T^T + (1 - beta1_k) u v^(-1/2)

    With b = 0 the first step leaves a where it is, as R_b^+ = 0. Eigenvalues of v that rounding
    made negative count as 0; the released code then drops the factor's whole step.

    Args:
      config: the settings.
      run: rate, betas and weight decay. Its clip acts on the head alone: theta's gradients are
        clipped here, unmagnified, and clipping them before would undo the invariance.

    Returns:
      A Method; theta and aux as in `lora`. ValueError for a run without moments (sgd).

    Source: arXiv 2410.20625, Algorithm 1, and the released code without what is off there.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = rite(RiteConfig(rank=1), Run(OptimiserConfig(), 10))
      >>> theta = {"fc": {"a": jnp.ones((2, 1)), "b": jnp.zeros((1, 2))}}
      >>> update = jax.jit(method.tx.update)
      >>> updates, _ = update(theta, method.tx.init(theta), theta, step=0)
      >>> updates["fc"]["a"].tolist()
      [[0.0], [0.0]]
    """
    optimiser = run.optimiser
    if optimiser.name != "adamw":
        raise ValueError(f"optimiser is {optimiser.name!r}; method 'rite' allows only 'adamw'")

    def start(theta: Tree):
        sides, state = sides_of(theta), {}
        for key, side in sides.items():
            rows, width, own = side.shape[0], min(sides[other(key)].shape), min(side.shape)
            shapes = {"first": (rows, width), "second": (width, width), "basis": (rows, own)}
            state[key] = {name: jnp.zeros(shape, side.dtype) for name, shape in shapes.items()}
        return state

    def move(gradients: Tree, state, theta: Tree, step):
        sides, gradients = sides_of(theta), sides_of(gradients)
        bases = by_shape(jnp.linalg.qr, sides)
        inverses = by_shape(pseudo_inverse, {key: r for key, (_, r) in bases.items()})
        u = {key: matmul(gradients[key], inverses[other(key)]) for key in sides}
        if config.skip_above:
            limit = config.skip_above**2
            u = {key: jnp.where(jnp.mean(x**2) > limit, 0, x) for key, x in u.items()}
        u, _ = clipped(u, config.unmagnified_clip)
        firsts, seconds = {}, {}
        for key, x in u.items():
            turn = matmul(bases[other(key)][0].T, state[other(key)]["basis"])
            firsts[key] = matmul(state[key]["first"], turn.T)
            turned = matmul(matmul(turn, state[key]["second"]), turn.T)
            beta = growing(optimiser.beta2, step, x.dtype)
            second = beta * turned + (1 - beta) * matmul(x.T, x) / x.shape[0]
            seconds[key] = (second + second.T) / 2
        roots = by_shape(lambda second: inverse_root(second, config.epsilon), seconds)
        moved, new = {}, {}
        for key, side in sides.items():
            beta = growing(optimiser.beta1, step, side.dtype)
            first = beta * firsts[key] + (1 - beta) * matmul(u[key], roots[key])
            direction = matmul(first, inverses[other(key)].T) + optimiser.weight_decay * side
            moved[key] = side - run.rate(step).astype(side.dtype) * direction
            new[key] = {"first": first, "second": seconds[key], "basis": bases[key][0]}
        return {p: {"a": moved[f"{p}.a"], "b": moved[f"{p}.b"].T} for p in theta}, new

    plain, tx = lora(config, run), owned(start, move)
    return dataclasses.replace(plain, name="rite", tx=tx, own_clipping=True)
