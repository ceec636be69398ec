"""Which rows the gradient before training is taken on: options that several methods share."""

from __future__ import annotations

import dataclasses

from rankwise import checks
from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class GradientOptions:
    """How dL/dW of the network before training is estimated; see `finetune.training.gradient_pass`.

    The defaults are those of the public code of LoRA-GA and LoRA-One, but for dropout: there the
    model is left in training mode. Here it is off, because the start should follow the gradient of
    the network that is deployed, and then no mask decides it.

    Attributes:
      gradient_batches: batches whose mean it is.
      gradient_batch_size: rows of each.
      gradient_shuffled: rows drawn by the run's seed, as in training, and not the first ones. Take
        it where a file is sorted by its labels.
      gradient_dropout: with the network's own dropout.
      gradient_kernels: kernels whose gradients are computed at a time; None for all. Less memory,
        and a pass and a compilation more for every such group.
    """

    gradient_batches: int = option(8, "number of batches of the gradient before training")
    gradient_batch_size: int = option(1, "rows of each batch of the gradient before training")
    gradient_shuffled: bool = option(
        False, "draw the rows of the gradient before training by the seed, not the first ones"
    )
    gradient_dropout: bool = option(
        False, "apply the model's own dropout in the gradient before training"
    )
    gradient_kernels: int | None = option(
        None, "kernels whose gradients one pass computes; by default all kernels"
    )

    def __post_init__(self):
        checks.integer("gradient_batches", self.gradient_batches, 1)
        checks.integer("gradient_batch_size", self.gradient_batch_size, 1)
        checks.flag("gradient_shuffled", self.gradient_shuffled)
        checks.flag("gradient_dropout", self.gradient_dropout)
        if self.gradient_kernels is not None:
            checks.integer("gradient_kernels", self.gradient_kernels, 1)
