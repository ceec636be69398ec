"""How few directions of a square factor move when a product of several is fitted to a low rank.

min 1/2 mean((W_L ... W_1 - Phi)^2), Phi of rank r, W_l(0) = eps Q_l with Q_l orthogonal. Gradient
descent leaves a subspace of dimension d - 2r of every factor alone but for a common scale
(Theorem 2 of the source); Adam does not respect rotations, and how nearly it does so is measured.

Deep low-rank adaptation of a matrix W is this problem for the change that is wanted. Here the r
leading directions are cut out of W, and W_L ... W_1 has to bring them back: Phi = [W]_r. With
`change` it is W_L ... W_1 minus its start that has to, so that W itself is where training begins.

Source: arXiv 2503.19859, Figure 3 (gradient descent, Gaussian W) and Figure 4 (Adam, the value
matrix of the last layer of a BERT; the published run fine-tunes the whole network's loss on text,
so that only the matrix, the factors and the optimiser are those of the figure).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.models.loading import load
from finetune.studies.survey.descent import descend, orthogonal
from finetune.weights.naming import named_leaves
from rankwise import checks

VALUE = re.compile(r"attention\.self\.value\.weight$")
OPTIMISERS = ("gd", "adam")


@dataclasses.dataclass(frozen=True)
class FactorsSetting:
    """One run; the defaults are Figure 3's.

    Attributes:
      size, rank, depth: d, r and L.
      scale: eps.
      optimiser, learning_rate, steps: "gd" or "adam".
      snapshots: at equal distances, after the first step and the start.
      model: folder of a BERT whose last value matrix is W, and gives d; None for a Gaussian one
        over sqrt(d) if `made`, else over 1, as published for Figure 3.
      made: see `model`.
      change: whether the start of the product is subtracted from it.
      seed: of W and the factors.

    Raises:
      ValueError: an entry outside its range; 2 r >= d.
    """

    size: int = 30
    rank: int = 3
    depth: int = 3
    scale: float = 1.0
    optimiser: str = "gd"
    learning_rate: float = 1.0
    steps: int = 50
    snapshots: int = 49
    model: str | None = None
    made: bool = False
    change: bool = False
    seed: int = 0

    def __post_init__(self):
        checks.integer("size", self.size, 3)
        checks.integer("rank", self.rank, 1, (self.size - 1) // 2)
        checks.integer("depth", self.depth, 2)
        checks.choice("optimiser", self.optimiser, OPTIMISERS)
        for name in ("scale", "learning_rate"):
            checks.positive(name, getattr(self, name))
        checks.integer("steps", self.steps, 2)
        checks.integer("snapshots", self.snapshots, 1, self.steps - 1)


def value_matrix(folder: str | os.PathLike) -> np.ndarray:
    """The value matrix of the last layer of a BERT, (in, out) float32.

    Raises:
      ValueError: no model there, or one without such matrices.
    """
    _, model = load(folder, labels=1, key=jax.random.key(0))
    matrices = [leaf.value for name, leaf in named_leaves(model).items() if VALUE.search(name)]
    if not matrices:
        raise ValueError(f"model is {os.fspath(folder)!r}; it has no attention.self.value")
    return np.asarray(matrices[-1])


def deep_factors(setting: FactorsSetting) -> dict[str, np.ndarray]:
    """The spectrum and the singular subspaces of the first factor over training.

    Angles are those of singular vectors, in degrees, to those after step 1 (at the start all
    singular values are equal). Order is by size; where values cross, so do the vectors.

    Returns:
      steps (T,), from 1; values (T, d) of W_1; largest (T, r) and smallest (T, r), angles of single
      right vectors; middle (T,), the largest principal angle between the other d - 2r of them;
      left_largest, left_smallest and left_middle, the same of left vectors; error (T,),
      ||P - Phi||_F / ||Phi||_F for the product P, or its change; size (), of W; kept (), the share
      of ||W||_F^2 in Phi.

    Example:
      >>> result = deep_factors(FactorsSetting(size=8, rank=1, steps=10, snapshots=3))
      >>> result["values"].shape, bool(result["middle"][-1] < 0.5)
      ((4, 8), True)
    """
    key = jax.random.key(setting.seed)
    matrix = _matrix(setting, key)
    size = matrix.shape[0]
    if matrix.shape != (size, size) or 2 * setting.rank >= size:
        raise ValueError(
            f"rank is {setting.rank}; allowed are at most {(size - 1) // 2} for {matrix.shape}"
        )
    u, s, vt = np.linalg.svd(np.asarray(matrix, np.float64))
    r = setting.rank
    target = jnp.asarray((u[:, :r] * s[:r]) @ vt[:r], jnp.float32)
    keys = jax.random.split(jax.random.fold_in(key, 1), setting.depth)
    factors = [setting.scale * orthogonal(k, (size, size)) for k in keys]
    rate = setting.learning_rate
    tx = optax.sgd(rate) if setting.optimiser == "gd" else optax.adam(rate)

    def product(factors):
        return functools.reduce(lambda done, w: w @ done, factors)

    start = product(factors) if setting.change else 0.0

    def loss(factors, _):
        return 0.5 * jnp.square(product(factors) - start - target).mean()

    @functools.partial(jax.jit, static_argnums=2)
    def advance(factors, moments, steps):
        factors, moments, _ = descend(loss, tx, factors, moments, jnp.arange(steps))
        difference = jnp.linalg.norm(product(factors) - start - target) / jnp.linalg.norm(target)
        return factors, moments, difference

    chunk = (setting.steps - 1) // setting.snapshots
    state, steps, rows = advance(factors, tx.init(factors), 1), [1], []
    reference = None
    for number in range(setting.snapshots + 1):
        if number:
            state, _ = advance(*state[:2], chunk), steps.append(steps[-1] + chunk)
        left, values, right = np.linalg.svd(np.asarray(state[0][0], np.float64))
        vectors = right, left.T
        reference = vectors if reference is None else reference
        angles = [_angles(now, then, r) for now, then in zip(vectors, reference, strict=True)]
        rows.append((values, *angles[0], *angles[1], float(state[2])))
    parts = ("largest", "smallest", "middle")
    names = ("values", *parts, *(f"left_{name}" for name in parts), "error")
    arrays = {
        name: np.stack(part) for name, part in zip(names, zip(*rows, strict=True), strict=True)
    }
    kept = np.square(s[:r]).sum() / np.square(s).sum()
    return {"steps": np.asarray(steps), "size": np.asarray(size), "kept": np.asarray(kept)} | arrays


def _matrix(setting: FactorsSetting, key: jax.Array):
    if setting.model is not None:
        return value_matrix(setting.model)
    scale = setting.size**-0.5 if setting.made else 1.0
    return scale * jax.random.normal(key, (setting.size, setting.size))


def _angles(now: np.ndarray, then: np.ndarray, r: int):
    """Degrees between rows: of the first r and the last r one by one, and of the rest together."""
    single = np.degrees(np.arccos(np.minimum(np.abs((now * then).sum(axis=1)), 1)))
    # The sine of the largest angle: its cosine would lose half the digits near zero.
    rest, kept = now[r:-r], then[r:-r]
    sine = np.linalg.norm(rest - (rest @ kept.T) @ kept, 2)
    return single[:r], single[-r:], np.degrees(np.arcsin(min(sine, 1)))
