"""What noise leaves after exact fitting: the noise floor, and the best number of components."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from deflation import exact, noise_floor
from deflation.problem.components import norms
from linear_theory.instances.setting import Setting, float64, reduced
from linear_theory.parallel.generalization.theory import noise_floor as expected_floor
from linear_theory.parallel.generalization.theory import noise_floor_second_order

REFERENCE = (3.0, 2.0, 1.2)  # singular values of the reference setting of the noise floor


@float64
def floor(
    setting: Setting,
    *,
    values=REFERENCE,
    levels=(0.01, 0.02, 0.03, 0.06, 0.1, 0.15, 0.2),
) -> dict:
    """||(W_r - W) X||_F^2 of the best rank-r fit W_r to noisy targets, r the true rank.

    Orthonormal rows of X; the law does not depend on X or n as long as errors are measured on X.

    Returns:
      values (r,), levels (L,), squared_error (L, N); first_order and two_terms (L,), its mean by
      `generalization.noise_floor` and `noise_floor_second_order`.

    Source: arXiv 2605.10741, statistical term.
    """
    drawn = setting.draw(jnp.asarray(values))

    @jax.jit
    def measure(noise):
        problem = reduced(drawn.x, drawn.y + noise)
        best = jax.vmap(lambda one: exact(one, setting.rank).components.matrix())(problem)
        return jnp.sum(((best - drawn.truth) @ drawn.x) ** 2, axis=(1, 2))

    sizes, std = (setting.m, setting.d), jnp.asarray(levels)
    two_terms = jax.vmap(lambda s: noise_floor_second_order(*sizes, jnp.asarray(values), s))(std)
    return {
        "values": values,
        "levels": levels,
        "first_order": expected_floor(*sizes, len(values), std),
        "two_terms": two_terms,
        "squared_error": jnp.stack(
            [measure(level * setting.noise(draw=row)) for row, level in enumerate(levels)]
        ),
    }


@float64
def best_rank(
    setting: Setting, *, levels=(0.1, 0.2, 0.5, 1.0, 2.0, 4.0), shown=(0.1, 0.5, 1.0, 2.0, 4.0)
) -> dict:
    """Reconstruction error against the number of exact components, exponential spectrum.

    Returns:
      levels (L,); shown, those worth a curve of their own; ranks (R,), error ||W - W_r||/||W|| for
      every rank (L, N, R); chosen (L, N), the rank that `deflation.noise_floor` chooses from the
      data alone.

    Source: arXiv 2505.22602, discussion of theorem 3.
    """
    drawn = setting.draw("exponential")
    noise = setting.noise()
    ranks = np.arange(1, min(setting.rank * 3 // 2, setting.m, setting.d) + 1)
    rule = noise_floor()

    @jax.jit
    def measure(level):
        problems = reduced(drawn.x, drawn.y + level * noise)

        def errors_and_rank(problem):
            exact_components = exact(problem, len(ranks)).components
            terms = exact_components.b[:, :, None] * exact_components.a[:, None, :]
            rest = drawn.truth - jnp.cumsum(terms, axis=0)
            sizes = norms(problem.to_whitened(exact_components))
            retained = rule.keep(rule.threshold(problem), sizes)
            return jnp.linalg.norm(rest, axis=(1, 2)), retained

        return jax.lax.map(errors_and_rank, problems)

    error, chosen = zip(*[measure(level) for level in levels], strict=True)
    return {
        "levels": levels,
        "shown": shown,
        "ranks": ranks,
        "error": jnp.stack(error) / jnp.linalg.norm(drawn.truth),
        "chosen": jnp.stack(chosen),
    }
