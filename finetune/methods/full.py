"""The ends of every comparison, without adapters: all parameters, the head alone, or nothing.

theta is empty. With "full", all parameters are what elsewhere only the head is: trained by the
head's optimiser and kept in `TrainState.head`.
"""

from __future__ import annotations

import dataclasses

import optax

from finetune.adapters.method import Method, Refused, Run
from finetune.models.parts.ops import matmul


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """A method without options."""


def full(config: NoSettings | None = None, run: Run | None = None) -> Method:
    """min over all parameters p of L(p): what adapters are compared with.

    Returns:
      A Method whose theta and aux are {}; `beside` tells the trainer to hand it all parameters of
      the network as the head, in the network's dtype (float32 for our models). There is no adapter
      to export: the result is the head.

    Example:
      >>> full().prepare(None, {}, None)
      ({}, {})
    """
    del config, run
    return _without_adapters("full", "all")


def head_only(config: NoSettings | None = None, run: Run | None = None) -> Method:
    """min over the head's parameters of L: the pretrained network as a fixed feature map.

    Example:
      >>> head_only().beside
      'head'
    """
    del config, run
    return _without_adapters("head", "head")


def untouched(config: NoSettings | None = None, run: Run | None = None) -> Method:
    """No training at all: the score of the network as it was loaded, whatever the steps.

    Example:
      >>> untouched().beside
      'nothing'
    """
    del config, run
    return _without_adapters("untouched", "nothing")


def _without_adapters(name: str, beside: str) -> Method:
    return Method(
        name=name,
        prepare=lambda key, kernels, gradients: ({}, {}),
        apply=lambda x, kernel, theta, aux, drop: matmul(x, kernel),
        export=lambda kernel, theta, aux: Refused(f"{name} has no adapter"),
        tx=optax.with_extra_args_support(optax.identity()),
        beside=beside,
    )
