"""SoRA: a gate on every component, driven to exact zeros by a proximal step.

y = x W + s ((drop(x) a) * g) b. theta[path]["d"] is the gate g. A gate at 0 still gets a gradient
and may come back; what is 0 at the end is not exported.

Source: Ding et al. (2023), arXiv 2311.11696, and its released code, which differs from it in the
threshold (see `SHRINKAGES`), and in that its trained modules match no name: head, pooler and
layer norms stay at their first values there. Here the head is trained; --head=freeze leaves it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from finetune.adapters import factors, gated
from finetune.adapters.method import Method, Run
from finetune.adapters.tables import by_role, of_role
from finetune.methods import option_texts as texts
from finetune.methods.lora import kaiming
from rankwise import checks
from rankwise.options import option

SHRINKAGES = ("proximal", "code")


@dataclasses.dataclass(frozen=True)
class SoraConfig:
    """Settings of `sora`.

    Attributes:
      rank: r, components of every module at first.
      alpha: the scale s is alpha / r.
      sparsity: eta, weight of the mean |g| over all gates, added to the loss; 10 is the released
        example on STS-B, the one on RTE has 1e-3.
      threshold: xi, taken off every |g| after each step, whatever the learning rate.
      shrinkage: see `shrunk`; "proximal", the published map, is the default because "code" is not
        one-to-one beyond its zeros: it jumps by xi.
      rises: values that the threshold takes, from 0 up to xi in equal steps; 1 is xi throughout.
      first: share of the run at the first of them, the others share the rest equally; the released
        schedule on RTE has 7 values, 50 epochs with the first and 15 with each other: 0.357.
    """

    rank: int = option(8, texts.FIRST_RANK)
    alpha: float = option(16.0, texts.ALPHA)
    sparsity: float = option(10.0, "weight of the mean size of the gates")
    threshold: float = option(3e-4, "amount that every gate shrinks by after each step")
    shrinkage: str = option(
        "proximal",
        "how gates are shrunk by --threshold: proximal, or as in the published code",
        SHRINKAGES,
    )
    rises: int = option(
        1, "number of values that the threshold rises through, 1 for a constant one"
    )
    first: float = option(0.357, "share of the run at the first value of the threshold")

    def __post_init__(self):
        checks.integer("rank", self.rank, 1)
        checks.integer("rises", self.rises, 1)
        checks.positive("alpha", self.alpha)
        checks.positive("sparsity", self.sparsity, zero=True)
        checks.positive("threshold", self.threshold, zero=True)
        checks.choice("shrinkage", self.shrinkage, SHRINKAGES)
        if not 0 < self.first < 1:
            raise ValueError(f"first is {self.first}; allowed are numbers in (0, 1)")

    def thresholds(self, step: jax.Array, total: int | jax.Array) -> jax.Array:
        """xi of step t of a run of `total`, in the default float.

        Example:
          >>> config = SoraConfig(threshold=1.0, rises=3, first=0.5)
          >>> [float(config.thresholds(t, 8)) for t in range(8)]
          [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
        """
        if self.rises == 1:
            return jnp.asarray(self.threshold)
        others = self.rises - 1
        past = (step / total - self.first) / (1 - self.first)
        number = jnp.clip(jnp.floor(past * others + 1), 0, others)
        return self.threshold * number / others


def shrunk(g: jax.Array, threshold: jax.Array, shrinkage: str) -> jax.Array:
    """The gate with |g| made smaller by the threshold xi, and 0 where nothing is left.

    "proximal" is sign(g) max(|g| - xi, 0), the proximal map of xi |g|. "code" is what the released
    statements do one after the other: |g| > xi falls by xi, then what is below xi becomes 0. So
    |g| < 2 xi gives 0, but |g| = xi stays, and beyond 2 xi it is the proximal map.

    Example:
      >>> g = jnp.array([0.5, 1.0, -1.5, 2.5])
      >>> shrunk(g, 1.0, "proximal").tolist(), shrunk(g, 1.0, "code").tolist()
      ([0.0, 0.0, -0.5, 1.5], [0.0, 1.0, 0.0, 1.5])
    """
    xi = jnp.asarray(threshold, g.dtype)
    if shrinkage == "proximal":
        return jnp.where(jnp.abs(g) > xi, g - xi * jnp.sign(g), 0)
    g = jnp.where(g > xi, g - xi, g)
    g = jnp.where(g < -xi, g + xi, g)
    return jnp.where(jnp.abs(g) < xi, 0, g)


def sora(config: SoraConfig, run: Run) -> Method:
    """min L(a, b, g) + eta mean |g|: a step of the optimiser, then g <- shrunk(g, xi).

    The gate has the factors' optimiser without weight decay. (The released one decays the factors
    after the step and adds Adam's epsilon before the correction for the start: over the recorded
    run losses of around 1 differ by 1e-3, live gates do not.)

    Returns:
      A Method; theta[path] is {a (in, r), b (r, out), d (r,)} with a uniform as in LoRA, b = 0 and
      d ~ N(0, 1), and aux[path] {scale}, float32 (float64 for float64 kernels).

    Example:
      >>> from finetune.methods import MethodConfig, make
      >>> from finetune.optimiser import OptimiserConfig
      >>> method = make(MethodConfig("sora", rank=4), OptimiserConfig(), total=100)
      >>> theta, aux = method.prepare(jax.random.key(0), {"fc": jnp.ones((3, 5))}, None)
      >>> method.ranks(theta, aux)["fc"].tolist(), float(aux["fc"]["scale"])
      (4, 4.0)
    """

    def prepare(key, kernels, gradients):
        del gradients
        theta = factors.start(key, kernels, config.rank, kaiming)
        for path, leaves in theta.items():
            own = factors.path_key(jax.random.fold_in(key, 1), path)
            leaves["d"] = jax.random.normal(own, (config.rank,), leaves["a"].dtype)
        return theta, gated.scaled(theta, config.alpha / config.rank)

    def regulariser(theta, aux):
        del aux
        # Not jnp.abs, whose derivative at 0 is 1 and would push closed gates.
        sizes = [(d * jax.lax.stop_gradient(jnp.sign(d))).ravel() for d in of_role("d", theta)]
        return config.sparsity * jnp.mean(jnp.concatenate(sizes))

    def post(theta, aux, opt, info):
        xi = config.thresholds(info.step, run.total)

        def after(name, leaf):
            return shrunk(leaf, xi, config.shrinkage) if name == "d" else leaf

        return by_role(after, theta), aux, opt

    return Method(
        name="sora",
        prepare=prepare,
        apply=gated.apply,
        lookup=gated.lookup,
        export=gated.export,
        tx=_optimiser(run),
        regulariser=regulariser,
        post=post,
        ranks=gated.ranks,
    )


def _optimiser(run: Run) -> optax.GradientTransformationExtraArgs:
    """That of the run, without weight decay for the gates."""
    gate = dataclasses.replace(run, optimiser=dataclasses.replace(run.optimiser, weight_decay=0.0))

    def labels(theta):
        return by_role(lambda name, _: "gate" if name == "d" else "factors", theta)

    return optax.partition({"gate": gate.tx, "factors": run.tx}, labels)
