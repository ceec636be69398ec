"""What adapters cost: floating-point operations of the low-rank branch alone, per image.

A layer with factors a (in, r) and b (r, out) takes 2 r (in + out) flops forward, as many for the
gradient of its input, and as many for those of the factors that are trained. With r_active
components in the network and r_train of them in training that is

    (4 r_active + 2 r_train) (in + out),

where the first layer has no gradient of its input: 2 r_active (in + out) less. The base network's
own products are the same for every method and are left out.

Source: arXiv 2505.22602, the released code's count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Shapes = Sequence[tuple[int, int]]


def lora_flops(shapes: Shapes, active: int, trained: int) -> int:
    """Flops per training image of adapters in layers (in, out), the first layer first.

    Example:
      >>> lora_flops([(784, 512), (512, 512), (512, 10)], active=1, trained=1)
      14460
    """
    sizes = [size_in + size_out for size_in, size_out in shapes]
    return (4 * active + 2 * trained) * sum(sizes) - 2 * active * sizes[0]


def stage_flops(shapes: Shapes, number: int) -> int:
    """Flops per image of training component `number` (from 1) with those before it frozen."""
    return lora_flops(shapes, number, 1)


def joint_flops(shapes: Shapes, rank: int) -> int:
    """Flops per image of training all components at once.

    Example:
      The released comparison, 6 epochs of each of three components and 10 of all at once, on MNIST:

      >>> shapes = [(784, 512), (512, 512), (512, 10)]
      >>> turns = sum(stage_flops(shapes, number) for number in (1, 2, 3))
      >>> round(6 * turns / (10 * joint_flops(shapes, 3)), 3)
      0.964
    """
    return lora_flops(shapes, rank, rank)


def path_flops(arrays) -> np.ndarray:
    """Flops of whole paths, (C, C, C) in the order of `component_3`, from the arrays of `study`."""
    epochs = np.asarray(arrays["epochs"], float)
    each = [epochs * float(flops) * float(arrays["rows"]) for flops in arrays["stage_flops"]]
    return each[0][:, None, None] + each[1][:, None] + each[2]


def joint_curve_flops(arrays) -> np.ndarray:
    """Flops of the joint adapter after 1, 2, ... epochs, from the arrays of `study`."""
    count = arrays["joint"].shape[-1]
    return np.arange(1, count + 1) * float(arrays["joint_flops"]) * float(arrays["rows"])
