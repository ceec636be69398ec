"""What one full gradient is worth: factors from its singular vectors, and a step along it.

Legend: as in `linear_teacher`; G = S Delta minus the gradient at 0, G_(r) its best approximation of
rank r; relative risk ||. - Delta||_F^2/||Delta||_F^2. Expectations are over Gaussian inputs.
"""

from __future__ import annotations

from linear_theory.adaptation.linear_teacher import Array


def spectral_factors(gradient: Array, rank: int, gamma: float = 1.0) -> tuple[Array, Array]:
    """A_0 = sqrt(gamma) U_r S_r^{1/2}, B_0 = sqrt(gamma) S_r^{1/2} V_r^T, so A_0 B_0 = gamma G_(r).

    Args:
      gradient: MINUS the gradient of the loss in the product, (..., d, k); JAX or numpy.
      rank: r, from 1 to min(d, k).
      gamma: 1 for a linear model; 2 for ReLU outputs, where the gradient sees half of Delta.

    Returns:
      (..., d, r) and (..., r, k), same dtype, of one size: A_0^T A_0 = B_0 B_0^T.

    Raises:
      ValueError: for a rank outside that range.

    Source: arXiv 2502.01235, equation of the spectral initialisation, and proposition 3.3.

    Example:
      >>> import numpy as np
      >>> a, b = spectral_factors(np.diag([4.0, 1.0]), 1)
      >>> abs(a).ravel().tolist(), (a @ b).tolist()
      ([2.0, 0.0], [[4.0, 0.0], [0.0, 0.0]])
    """
    limit = min(gradient.shape[-2:])
    if not 1 <= rank <= limit:
        raise ValueError(f"rank is {rank}; allowed are integers from 1 to min(d, k) = {limit}")
    xp = gradient.__array_namespace__()
    left, values, right = xp.linalg.svd(gradient, full_matrices=False)
    scale = xp.sqrt(gamma * values[..., :rank])
    return left[..., :rank] * scale[..., None, :], scale[..., None] * right[..., :rank, :]


def mean_error(d: int, samples: int) -> float:
    """E ||S Delta - Delta||_F^2/||Delta||_F^2 = (d + 1)/N for Gaussian inputs of unit covariance.

    Proof: E S^2 = (1 + (d + 1)/N) I, fourth moments of a Gaussian.

    Args:
      d: dimension of the inputs. samples: N.

    Returns:
      The mean relative risk of the spectral start with gamma = 1 and r >= r*.

    Source: arXiv 2502.01235, proposition 3.3, says error <= eps s_1 for N > d. It needs
    eps^2 N >= (d + 1) ||Delta||_F^2/s_1^2, up to constants: the mean is as large as that.

    Example:
      >>> mean_error(99, 1600)
      0.0625
    """
    return (d + 1) / samples


def deviation(d: int, samples: int, miss: Array) -> Array:
    """2 t + t^2, t = sqrt(d/N) + sqrt(2 ln(2/miss)/N): above ||S - I||_2 with probability 1 - miss.

    Proof: all singular values of X/sqrt(N) are within t of 1, each side with 1 - miss/2.

    Args:
      d, samples: as in `mean_error`. miss: probability that it is exceeded, in (0, 1), an array.

    Source: Davidson and Szarek 2001, theorem II.13, on Gaussian matrices.

    Example:
      >>> import numpy as np
      >>> round(float(deviation(4, 400, np.array(0.1))), 3)
      0.494
    """
    xp = miss.__array_namespace__()
    spread = (d / samples) ** 0.5 + xp.sqrt(2 * xp.log(2 / miss) / samples)
    return 2 * spread + spread**2


def best_fixed_step(d: int, samples: int) -> float:
    """eta = 1/(1 + (d + 1)/N), the step eta G with the least expected risk c/(1 + c), c = (d+1)/N.

    E ||eta G - Delta||^2 = (1 - 2 eta + eta^2 (1 + c)) ||Delta||^2.

    Source: proved above.

    Example:
      >>> best_fixed_step(9, 10)
      0.5
    """
    return 1 / (1 + mean_error(d, samples))


def best_step(gradient: Array, delta: Array) -> Array:
    """eta* = <G, Delta>/||G||_F^2, the step along G with the least risk ||eta G - Delta||_F.

    Takes (..., d, k) twice, returns (...). Source: a parabola in eta.

    Example:
      >>> import numpy as np
      >>> float(best_step(2 * np.eye(2), np.eye(2)))
      0.5
    """
    return (gradient * delta).sum(axis=(-2, -1)) / (gradient**2).sum(axis=(-2, -1))
