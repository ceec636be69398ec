"""What the arrays of the study say: order of a path, length of each stage, accuracy against cost.

S seeds, C choices of epochs; accuracies are of the finished paths, (S, C, C, C).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from finetune.studies.vision.cost import joint_curve_flops, path_flops

Arrays = Mapping[str, np.ndarray]


class Orders(NamedTuple):
    """Two paths of the same epochs, the most first and the most last.

    Attributes:
      paths: (M, 3) epochs, descending.
      front: accuracy of these paths (S, M).
      back: accuracy of the same epochs ascending (S, M).
    """

    paths: np.ndarray
    front: np.ndarray
    back: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """front - back (S, M); positive where front-loading won."""
        return self.front - self.back


def orders(arrays: Arrays) -> Orders:
    """The paths 10-3-1 and 1-3-10, and so on for every multiset of epochs that is not constant.

    Example:
      >>> final = np.zeros((1, 2, 2, 2))
      >>> orders({"epochs": np.array([1, 5]), "component_3": final}).paths.tolist()
      [[5, 1, 1], [5, 5, 1]]
    """
    epochs, final = np.asarray(arrays["epochs"]), np.asarray(arrays["component_3"])
    multisets = itertools.combinations_with_replacement(range(len(epochs)), 3)
    rising = np.asarray([m for m in multisets if m[0] != m[-1]])
    falling = rising[:, ::-1]
    return Orders(epochs[falling], final[:, *falling.T], final[:, *rising.T])


def stages(arrays: Arrays) -> np.ndarray:
    """Mean accuracy over the other two stages, by stage and its epochs: (S, 3, C)."""
    final = np.asarray(arrays["component_3"], float)
    rest = ((2, 3), (1, 3), (1, 2))
    return np.stack([final.mean(axis=axes) for axes in rest], axis=1)


class Within(NamedTuple):
    """The least cost of an accuracy.

    Attributes:
      target: the accuracy asked for.
      path: epochs (3,) of the cheapest path that reaches it, zeros if none does.
      path_flops: its cost; infinity if none.
      epochs: of the joint adapter until it reaches the target, 0 if it does not.
      joint_flops: their cost; infinity if it does not.
    """

    target: float
    path: np.ndarray
    path_flops: float
    epochs: int
    joint_flops: float


def within(arrays: Arrays, share: float = 0.05, reference: int | None = None) -> Within:
    """The cheapest path, and the shortest joint run, within `share` of the joint accuracy.

    Args:
      arrays: of `study`; accuracies are averaged over the seeds.
      share: relative: the target is (1 - share) times the joint accuracy.
      reference: epochs of the joint run that is the reference; None for all that were run.
    """
    joint = np.asarray(arrays["joint"], float).mean(axis=0)
    target = float((1 - share) * joint[-1 if reference is None else reference - 1])
    costs, final = path_flops(arrays), np.asarray(arrays["component_3"], float).mean(axis=0)
    reached = np.where(final >= target, costs, np.inf)
    best = np.unravel_index(int(np.argmin(reached)), reached.shape)
    finite = np.isfinite(reached[best])
    path = np.asarray(arrays["epochs"])[list(best)] if finite else np.zeros(3, int)
    above = np.flatnonzero(joint >= target)
    epochs = int(above[0]) + 1 if above.size else 0
    cost = float(joint_curve_flops(arrays)[epochs - 1]) if epochs else np.inf
    return Within(target, path, float(reached[best]), epochs, cost)


def at_equal_flops(arrays: Arrays) -> np.ndarray:
    """Accuracy of every path minus that of the joint adapter at the same flops, (S, C, C, C).

    The joint accuracy is interpolated between its epochs; NaN where a path costs less than one
    joint epoch or more than all of them.
    """
    costs, curve = path_flops(arrays), joint_curve_flops(arrays)
    joint = np.asarray(arrays["joint"], float)
    at = np.stack([np.interp(costs, curve, run, left=np.nan, right=np.nan) for run in joint])
    return np.asarray(arrays["component_3"], float) - at


def at_like_flops(arrays: Arrays, share: float = 0.05) -> np.ndarray:
    """Accuracy of a path minus that of the joint adapter after whole epochs, mean over the seeds.

    Args:
      share: (P,) are all pairs of a path and a number of joint epochs whose flops agree within it.
    """
    ratios = path_flops(arrays)[..., None] / joint_curve_flops(arrays)
    means = [np.asarray(arrays[name], float).mean(axis=0) for name in ("component_3", "joint")]
    return (means[0][..., None] - means[1])[np.abs(ratios - 1) <= share]
