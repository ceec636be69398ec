"""Full fine-tuning: every parameter of the network is trained, biases included.

There is no adapter: theta is empty, and all parameters are what elsewhere only the head is, trained
whole by the head's optimiser and kept in `TrainState.head`.
"""

from __future__ import annotations

import optax

from finetune.methods.method import Method, Refused
from finetune.models.ops import matmul


def full() -> Method:
    """min over all parameters p of L(p): what adapters are compared with.

    Returns:
      A Method whose theta and aux are {}; `whole` tells the trainer to hand it all parameters of
      the network as the head, in the network's dtype (float32 for our models). There is no adapter
      to export: the result is the head.

    Example:
      >>> full().prepare(None, {}, None)
      ({}, {})
    """
    return Method(
        name="full",
        prepare=lambda key, kernels, gradients: ({}, {}),
        apply=lambda x, kernel, theta, aux, drop: matmul(x, kernel),
        export=lambda kernel, theta, aux: Refused("full fine-tuning has no adapter"),
        tx=optax.with_extra_args_support(optax.identity()),
        whole=True,
    )
