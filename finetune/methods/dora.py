"""DoRA: lengths and directions of a kernel's columns are trained apart.

Source: Liu et al. (2024), arXiv 2402.09353, with the conventions of PEFT's implementation.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from finetune.adapters import factors, magnitudes
from finetune.adapters.method import Leaves, Method, Run, Scaled
from finetune.methods.lora import LoraConfig, lora


@dataclasses.dataclass(frozen=True)
class DoraConfig(LoraConfig):
    """Settings of `dora`.

    Attributes:
      rank, alpha, stabilised: as in `LoraConfig`.
    """


def dora(config: DoraConfig, run: Run) -> Method:
    """y = x V diag(m / sg|V|), V = W + s a b, where |V| has the lengths of the columns of V.

    a and b start as in `lora` and m as |W|, so the network starts unchanged. The lengths are
    constants of differentiation (section 4.3), and are had without forming V. Adapter dropout acts
    on all that is added to x W, as in PEFT: x W + (m/|V| - 1) drop(x) W + s m/|V| drop(x) a b.

    Args:
      config: the settings.
      run: its optimiser trains a, b and m.

    Returns:
      A Method; theta[path] is {a (in, r), b (r, out), magnitude (out,)}, aux[path] {gain (r,),
      square (out,)}; all float32, or float64 for float64 kernels. Exports are `Scaled`.

    Source: arXiv 2402.09353, eqs. 5 and 11.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = dora(DoraConfig(rank=1), Run(OptimiserConfig(), 10))
      >>> kernel = jnp.array([[3.0, 0.0], [4.0, 1.0]])
      >>> theta, _ = method.prepare(jax.random.key(0), {"fc": kernel}, None)
      >>> theta["fc"]["magnitude"].tolist()
      [5.0, 1.0]
    """
    plain = lora(config, run)

    def prepare(key, kernels, gradients):
        theta, aux = plain.prepare(key, kernels, gradients)
        for path, leaves in theta.items():
            aux[path]["square"] = magnitudes.squares(kernels[path])
            # By the function of the forward pass, so that m / |V| is 1 to the bit at first.
            leaves["magnitude"] = magnitudes.lengths(kernels[path], leaves, aux[path])
        return theta, aux

    return dataclasses.replace(
        plain,
        name="dora",
        prepare=prepare,
        apply=magnitudes.apply,
        lookup=magnitudes.lookup,
        export=export,
    )


def export(kernel: jax.Array, theta: Leaves, aux: Leaves) -> Scaled:
    """Factors with the gain folded into a, and the magnitude beside them."""
    return Scaled(*factors.export(kernel, theta, aux), np.asarray(theta["magnitude"]))
