"""The first step of three starts: how it moves the weight that the network uses.

Legend: g (d, k) the gradient of any loss at the trained weight; the network uses W_base + s A B; U,
V the singular vectors of g, g_(r) its best approximation of rank r. Displacements are per unit of
the step size, to first order in it, by gradient descent on A and B together.
"""

from __future__ import annotations

from linear_theory.adaptation.linear_teacher import Array


def first_displacement(gradient: Array, a: Array, b: Array, scale: float) -> Array:
    """-s^2 (g B^T B + A A^T g), for any factors.

    Args:
      gradient: g (..., d, k). a: (..., d, r). b: (..., r, k). scale: s.

    Returns:
      (..., d, k).

    Source: s (dA B + A dB) with dA = -s g B^T, dB = -s A^T g.

    Example:
      >>> import numpy as np
      >>> one = np.ones((1, 1))
      >>> first_displacement(one, one, 2 * one, 1.0).item()
      -5.0
    """
    return -(scale**2) * (gradient @ b.mT @ b + a @ a.mT @ gradient)


def lora_ga_factors(gradient: Array, rank: int, size: float) -> tuple[Array, Array]:
    """A = c U_r, B = c V_{r+1:2r}^T: the first step is -s^2 c^2 g_(2r).

    Args:
      gradient: g (..., d, k), either sign. rank: r, at most min(d, k)/2. size: c.

    Returns:
      (..., d, r) and (..., r, k).

    Raises:
      ValueError: for a rank outside that range.

    Source: LoRA-GA, arXiv 2407.05000, theorem 3.1; the product is subtracted from W_base.

    Example:
      >>> import numpy as np
      >>> a, b = lora_ga_factors(np.diag([2.0, 1.0]), 1, 1.0)
      >>> abs(a @ b).tolist()
      [[0.0, 1.0], [0.0, 0.0]]
    """
    limit = min(gradient.shape[-2:]) // 2
    if not 1 <= rank <= limit:
        raise ValueError(f"rank is {rank}; allowed are integers from 1 to min(d, k)/2 = {limit}")
    left, _, right = gradient.__array_namespace__().linalg.svd(gradient, full_matrices=False)
    return size * left[..., :rank], size * right[..., rank : 2 * rank, :]


def lora_one_factors(gradient: Array, rank: int, size: float) -> tuple[Array, Array]:
    """A = c U_r, B = c V_r^T: the first step is -2 s^2 c^2 g_(r).

    Args:
      gradient: g (..., d, k); the sign matters, see `sign_flip`.
      rank: r. size: c.

    Returns:
      (..., d, r) and (..., r, k).

    Source: arXiv 2502.01235, algorithm 1 as in the talk, c = sqrt(gamma).

    Example:
      >>> import numpy as np
      >>> a, b = lora_one_factors(np.diag([2.0, 1.0]), 1, 1.0)
      >>> (a @ b).tolist()
      [[1.0, 0.0], [0.0, 0.0]]
    """
    left, _, right = gradient.__array_namespace__().linalg.svd(gradient, full_matrices=False)
    return size * left[..., :rank], size * right[..., :rank, :]
