"""Figures and their arrays as files, each written at once or not at all."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from rankwise.files import replacing
from rankwise.plots.style import RC

ENDINGS = ("png", "svg")


def save(
    figure: Figure, path: str | os.PathLike, endings: Sequence[str] = ENDINGS
) -> list[pathlib.Path]:
    """Writes path.png and path.svg.

    Args:
      figure: what to write.
      path: the place and the name, without an ending.
      endings: which of the two.

    Returns:
      The files written. The same figure gives the same bytes.

    Raises:
      OSError: if they cannot be written.
    """
    written = [pathlib.Path(f"{path}.{ending}") for ending in endings]
    for target, ending in zip(written, endings, strict=True):
        # No date: a figure that did not change must not look changed.
        metadata = {"Date": None} if ending == "svg" else None
        with replacing(target) as whole, matplotlib.rc_context(RC):
            figure.savefig(whole, format=ending, metadata=metadata)
    return written


def save_arrays(arrays: Mapping[str, np.ndarray], path: str | os.PathLike) -> pathlib.Path:
    """Writes path.npz, to be read by `numpy.load`; raises OSError if it cannot be written."""
    target = pathlib.Path(f"{path}.npz")
    with replacing(target) as whole, whole.open("wb") as file:
        np.savez(file, **arrays)
    return target
