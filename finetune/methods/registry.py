"""Methods by name: a class of settings and the function that builds the method from them.

To add one: write its file, and add its line to METHODS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from finetune.adapters.method import Method, Run
from finetune.methods.adalora import AdaloraConfig, adalora
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.methods.adarankgrad import AdaRankGradConfig, adarankgrad
from finetune.methods.cola import ColaConfig, cola
from finetune.methods.debora import DeboraConfig, debora
from finetune.methods.deeplora import DeepLoraConfig, deeplora
from finetune.methods.dora import DoraConfig, dora
from finetune.methods.full import NoSettings, full, head_only, untouched
from finetune.methods.galore import GaloreConfig, galore
from finetune.methods.increlora import IncreloraConfig, increlora
from finetune.methods.lora import GivenLoraConfig, RsLoraConfig, with_ranks
from finetune.methods.loraga import LoraGaConfig, loraga
from finetune.methods.loraone import LoraOneConfig, loraone
from finetune.methods.loraplus import LoraPlusConfig, loraplus
from finetune.methods.onestep import OneStepConfig, onestep
from finetune.methods.parallel import ParallelConfig, parallel
from finetune.methods.pissa import PissaConfig, pissa
from finetune.methods.plora import PloraConfig, plora
from finetune.methods.relora import ReloraConfig, relora
from finetune.methods.rite import RiteConfig, rite
from finetune.methods.sequential import SequentialConfig, sequential
from finetune.methods.sora import SoraConfig, sora
from finetune.methods.welore import WeloreConfig, welore
from finetune.optimiser import OptimiserConfig
from rankwise import checks
from rankwise.options import collected


class Entry(NamedTuple):
    """A method.

    Attributes:
      settings: frozen dataclass; its fields made by `option` are the method's options.
      build: (settings, Run) -> Method.
    """

    settings: type
    build: Callable[[Any, Run], Method]


METHODS: dict[str, Entry] = {
    "full": Entry(NoSettings, full),
    "head": Entry(NoSettings, head_only),
    "untouched": Entry(NoSettings, untouched),
    "lora": Entry(GivenLoraConfig, with_ranks),
    "rslora": Entry(RsLoraConfig, with_ranks),
    "loraplus": Entry(LoraPlusConfig, loraplus),
    "pissa": Entry(PissaConfig, pissa),
    "dora": Entry(DoraConfig, dora),
    "plora": Entry(PloraConfig, plora),
    "rite": Entry(RiteConfig, rite),
    "sequential": Entry(SequentialConfig, sequential),
    "parallel": Entry(ParallelConfig, parallel),
    "adapad": Entry(AdapadConfig, adapad),
    "adalora": Entry(AdaloraConfig, adalora),
    "increlora": Entry(IncreloraConfig, increlora),
    "sora": Entry(SoraConfig, sora),
    "debora": Entry(DeboraConfig, debora),
    "loraga": Entry(LoraGaConfig, loraga),
    "loraone": Entry(LoraOneConfig, loraone),
    "onestep": Entry(OneStepConfig, onestep),
    "deeplora": Entry(DeepLoraConfig, deeplora),
    "galore": Entry(GaloreConfig, galore),
    "adarankgrad": Entry(AdaRankGradConfig, adarankgrad),
    "relora": Entry(ReloraConfig, relora),
    "cola": Entry(ColaConfig, cola),
    "welore": Entry(WeloreConfig, welore),
}
NAMES = tuple(METHODS)
# They deal the steps of a run out: to phases, components, links or thresholds.
_PLANNED = ("adalora", "adapad", "cola", "debora", "increlora", "relora", "sequential", "sora")
# Of those, the ones whose plan has an entry for every step or part: its length is no argument.
_TABLED = ("adalora", "cola", "relora", "sequential")
# Their step treats every array by itself, or modules by `finetune.adapters.tables`.
_LAYERWISE = (
    *("full", "head", "untouched", "lora", "rslora", "loraplus", "pissa", "dora"),
    *("loraga", "loraone", "onestep", "deeplora", "sora", "galore", "adarankgrad"),
    *("adalora", "plora", "sequential", "parallel", "adapad"),
)
OPTIONS = collected({name: entry.settings for name, entry in METHODS.items()})


def _plain(value: Any) -> Any:
    """A number of numpy or JAX as one of Python's, which settings are saved as."""
    if isinstance(value, np.generic | jax.Array) and not checks.traced(value) and not value.shape:
        return value.item()
    return value


@dataclasses.dataclass(frozen=True, init=False)
class MethodConfig:
    """A method by name with its options.

    Args:
      name: one of `NAMES`.
      options: fields of the method's settings; None is the default.

    Raises:
      ValueError: an unknown name, an option of another method, a value out of range.

    Example:
      >>> MethodConfig("lora", rank=2).settings
      GivenLoraConfig(rank=2, alpha=16.0, stabilised=False, ranks=None)
    """

    name: str
    settings: Any

    def __init__(self, name: str, **options: Any):
        checks.choice("method", name, NAMES)
        own = METHODS[name].settings
        given = {n: _plain(value) for n, value in options.items() if value is not None}
        allowed = [n for n, one in OPTIONS.items() if name in one.methods]
        for option, value in given.items():
            if option not in allowed:
                has = f"its options are {', '.join(allowed)}" if allowed else "it has no options"
                raise ValueError(
                    f"{option} is {value!r}, which method {name!r} does not have; {has}"
                )
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "settings", own(**given))

    @property
    def plans(self) -> bool:
        """Whether the number of steps says more than how the learning rate falls."""
        return self.name in _PLANNED and getattr(self.settings, "every", None) is None

    @property
    def scheduled(self) -> bool:
        """Whether the number of steps may be traced, so that one program serves runs of all."""
        return self.name not in _TABLED

    @property
    def layerwise(self) -> bool:
        """See `Method.layerwise`."""
        return self.name in _LAYERWISE and not getattr(self.settings, "preconditioned", False)


def make(
    config: MethodConfig,
    options: OptimiserConfig,
    total: int,
    *,
    mesh: jax.sharding.Mesh | None = None,
) -> Method:
    """The method that a configuration describes, for a run of `total` steps.

    Args:
      total: may be traced where `config.scheduled`.
      mesh: with an axis "level", deals the levels of parallel and adapad out on it.

    Raises:
      ValueError: too few steps for the settings.

    Example:
      >>> make(MethodConfig("sequential", path=(1, 3, 5)), OptimiserConfig(), total=90).name
      'sequential'
    """
    if not (config.scheduled and checks.traced(total)):
        total = checks.integer("steps", total, 1)
    method = METHODS[config.name].build(config.settings, Run(options, total, mesh))
    return dataclasses.replace(method, layerwise=config.layerwise)
