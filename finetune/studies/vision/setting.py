"""What the vision study of the sequential paper is run on, as one frozen record."""

from __future__ import annotations

import dataclasses
import json
import zlib

from finetune.tasks import images
from rankwise import checks

COMPONENTS = 3
"""Components of a path, and the rank of the joint adapter it is compared with."""


@dataclasses.dataclass(frozen=True)
class VisionSetting:
    """One data set of the study; the defaults are the paper's.

    Attributes:
      task: one of `finetune.tasks.images.NAMES`.
      data_dir: folder with its images, see `finetune.tasks.images.load`; None for digits.
      hidden_size: width of both hidden layers.
      epochs: what a component may be trained for, ascending.
      base_epochs: of the whole network, on the first half of the classes.
      joint_epochs: of the joint adapter, whose accuracy is taken after each of them.
      batch_size, learning_rate: of all training (Adam at a constant rate, no clipping).
      std: standard deviation of the first a.
      rows: training images of each half at most, drawn without replacement; None for all.
      seeds: each is a base network of its own and all runs from it.

    Raises:
      ValueError: an entry outside its range.

    Example:
      >>> VisionSetting("digits").paths[:2]
      ((1, 1, 1), (1, 1, 3))
    """

    task: str
    data_dir: str | None = None
    hidden_size: int = 512
    epochs: tuple[int, ...] = (1, 3, 5, 10)
    base_epochs: int = 10
    joint_epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 1e-3
    std: float = 0.01
    rows: int | None = None
    seeds: tuple[int, ...] = (42, 43, 44, 45, 46)

    def __post_init__(self):
        checks.choice("task", self.task, images.NAMES)
        for name in ("epochs", "seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("hidden_size", "base_epochs", "joint_epochs", "batch_size"):
            checks.integer(name, getattr(self, name), 1)
        for name in ("learning_rate", "std"):
            checks.positive(name, getattr(self, name))
        if self.rows is not None:
            checks.integer("rows", self.rows, 1)
        for epoch in self.epochs:
            checks.integer("epochs", epoch, 1)
        if not self.epochs or list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"epochs is {self.epochs}; allowed are ascending numbers")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {self.seeds}; allowed are one or more different ones")
        for seed in self.seeds:
            checks.integer("seeds", seed, 0)

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """All choices of epochs for the three components, the last one fastest."""
        return tuple((a, b, c) for a in self.epochs for b in self.epochs for c in self.epochs)

    @property
    def tree_epochs(self) -> int:
        """Epochs that all paths together take when common beginnings are trained once."""
        nodes = sum(len(self.epochs) ** depth for depth in range(COMPONENTS))
        return nodes * self.epochs[-1]

    @property
    def total_epochs(self) -> int:
        """Epochs of one seed: base, tree and joint."""
        return self.base_epochs + self.tree_epochs + self.joint_epochs

    def fingerprint(self) -> str:
        """Eight digits that differ where the results of a seed would."""
        kept = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del kept["seeds"], kept["data_dir"]  # the data themselves are in the study's fingerprint
        return f"{zlib.crc32(json.dumps(kept, sort_keys=True).encode()):08x}"
